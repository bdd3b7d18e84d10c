"""Stop when nothing gets better any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recurra import checks
from recurra.train.best import Best
from recurra.train.callback import Callback

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Ends the training after `patience` epochs without a best one, and goes back to the best.

    `monitor` is a name of the history (None: the validation's loss, or the training's without
    one), of which `mode` "min" or "max" is best; a gain of `min_delta` or less is none. With
    `restore_best` the model has the weights of the best epoch afterwards, also if training ended
    for another reason (Prechelt, Early Stopping - But When?, 1998).

    >>> from recurra.train import EarlyStopping
    >>> EarlyStopping(patience=0)
    Traceback (most recent call last):
    ValueError: EarlyStopping: patience: expected an int >= 1, got 0
    """

    def __init__(
        self,
        patience: int = 5,
        monitor: str | None = None,
        mode: str = "min",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.patience = checks.size("EarlyStopping", "patience", patience)
        self.best = Best("EarlyStopping", monitor, mode, min_delta)
        self.restore_best = checks.flag("EarlyStopping", "restore_best", restore_best)
        self.waited = 0
        self._weights: dict[str, Any] | None = None

    def on_fit_begin(self, run: Run) -> None:
        """A new training begins anew; one that goes on after it had stopped stops again."""
        if not run.step:
            self.best.reset()
            self.waited, self._weights = 0, None
        self._stop_in_time(run)

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        self.waited += 1
        if self.best.improved(row):
            self.waited = 0
            with run.as_validated():
                self._weights = run.model.state_dict() if self.restore_best else None
        self._stop_in_time(run)

    def on_fit_end(self, run: Run) -> None:
        if self._weights is not None:
            run.model.load_state_dict(self._weights)
            run.restored = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.state_dict(), "waited": self.waited, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best.load_state_dict(state["best"])
        self.waited, self._weights = state["waited"], state["weights"]

    def _stop_in_time(self, run: Run) -> None:
        if self.waited >= self.patience:
            run.stop(f"nothing better than epoch {self.best.epoch} in {self.waited} epochs")
