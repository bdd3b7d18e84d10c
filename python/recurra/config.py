"""Threads and instruction set: what the core uses, and how to change it.

`RECURRA_NUM_THREADS` and `RECURRA_ISA` are read when they are first needed, from the environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from recurra import _core

__all__ = ["get_num_threads", "num_threads", "set_num_threads", "show_config"]


def set_num_threads(n: int) -> None:
    """Use up to `n` threads from now on, at least 1: with 1 no thread is ever created.

    The number changes the time that a call takes, never a bit of its result.

    >>> import recurra
    >>> before = recurra.get_num_threads()
    >>> recurra.set_num_threads(1)
    >>> recurra.get_num_threads()
    1
    >>> recurra.set_num_threads(before)
    """
    _core.set_num_threads(n)


def get_num_threads() -> int:
    """Threads in use: as set, else `RECURRA_NUM_THREADS`, else what the process may use.

    What it may use is the smaller of its CPU affinity and its cgroup limit.

    >>> import recurra
    >>> recurra.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use up to `n` threads, at least 1, inside a `with` block.

    >>> import recurra
    >>> with recurra.num_threads(1):
    ...     recurra.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def show_config() -> None:
    """Print the version, the instruction set and the number of threads.

    >>> import recurra
    >>> recurra.show_config()
    recurra ...
    instruction set: ...
    threads: ...
    """
    print(f"recurra {_core.version()}")
    print(f"instruction set: {_core.isa()}")
    print(f"threads: {get_num_threads()}")
