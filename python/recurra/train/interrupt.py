"""Ctrl-C as a request."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]


@contextmanager
def interruptible(request: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C inside calls `request`, the second is what it was before.

    Only a main thread may handle signals: elsewhere this does nothing. A process that ignores
    Ctrl-C, as one in the background may, goes on doing so.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (
        signal.SIG_IGN,
        None,
    ):
        yield
        return

    def first(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        request()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
