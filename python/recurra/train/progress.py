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
        self._bar.set_postfix_str(
            f"epoch {run.epoch + 1}, loss {run.loss:.4g}{self._validation}", refresh=False
        )
        self._bar.update(run.epoch * len(run.data) + run.batch - self._bar.n)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        if "validation_loss" in row:
            self._validation = f", validation {row['validation_loss']:.4g}"

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
