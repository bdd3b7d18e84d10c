"""What happens around the steps of a training."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["Callback"]


class Callback:
    """Subclass it and define what should happen when; `run` is the whole state of the training.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import Callback, fit
    >>> class StopAt(Callback):
    ...     def __init__(self, loss):
    ...         self.loss = loss
    ...
    ...     def on_epoch_end(self, run, row):
    ...         if row["loss"] < self.loss:
    ...             run.stop(f"the loss is {row['loss']:.0e}")
    >>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    >>> model = recurra.Linear(1, 1)
    >>> optimizer = recurra.Adam(model.parameters(), lr=0.1)
    >>> history = fit(
    ...     model, (x, 2 * x), recurra.mse, optimizer, epochs=500, callbacks=[StopAt(1e-4)]
    ... )
    >>> history["loss"][-1] < 1e-4, history.stopped[:11]
    (True, 'the loss is')

    An exception ends the training, with a note that says in which callback; checkpoints written
    before stay.
    """

    def on_fit_begin(self, run: Run) -> None:
        """Before the first step, after a checkpoint was taken up."""

    def on_step_end(self, run: Run) -> None:
        """After every update of the weights: `run.step`, `run.loss`, `run.grad_norm`."""

    def around_validation(self, run: Run) -> AbstractContextManager[None]:
        """What a validation happens inside of: other weights, for example."""
        return nullcontext()

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        """After an epoch and its validation; `row` is its row of the history."""

    def on_fit_end(self, run: Run) -> None:
        """After the last step, also of a training that was interrupted; not after an error."""

    def close(self) -> None:
        """Always, at last: close files."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold: numbers, texts, arrays and containers of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as after `state_dict` returned `state`."""
