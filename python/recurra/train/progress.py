"""A progress bar on standard error."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recurra.train.callback import Callback

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["Progress", "is_watched"]


class Progress(Callback):
    """A bar over all batches, with the epoch, the loss and the last validation."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._validation = ""

    def on_fit_begin(self, run: Run) -> None:
        package = import_module("tqdm.auto" if _in_notebook() else "tqdm")
        batches = len(run.data)
        self._bar = package.tqdm(
            total=run.epochs * batches, initial=run.epoch * batches + run.batch, unit="batch"
        )

    def on_step_end(self, run: Run) -> None:
        self._tell(run.epoch + 1, run.loss)
        self._bar.update(run.epoch * len(run.data) + run.batch - self._bar.n)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        if "validation_loss" in row:
            self._validation = f", validation {row['validation_loss']:.4g}"
            self._tell(run.epoch, run.loss)  # the last epoch has no step after it to tell

    def on_fit_end(self, run: Run) -> None:
        if run.history.stopped and not run.history.interrupted:
            self._bar.total = self._bar.n  # a widget that lacks steps is red, as after an error
            told = self._bar.postfix or ""
            self._bar.set_postfix_str(f"{told}; {run.history.stopped}", refresh=False)

    def _tell(self, epoch: int, loss: float) -> None:
        self._bar.set_postfix_str(
            f"epoch {epoch}, loss {loss:.4g}{self._validation}", refresh=False
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def is_watched() -> bool:
    """Whether somebody sees a bar: standard error is a terminal, or this is a notebook."""
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    """Whether a kernel runs this: its package alone may be imported by anything."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    return import_module("IPython").get_ipython() is not None
