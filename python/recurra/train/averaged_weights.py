"""Averaged weights while a training runs, and the statistics that belong to them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from recurra import checks
from recurra.autograd import no_grad
from recurra.averaging import Average
from recurra.data import Batches
from recurra.layers.batch_normalization import BatchNorm
from recurra.module import Module
from recurra.train import loop
from recurra.train.callback import Callback
from recurra.train.calling import Caller
from recurra.train.fitting import Data, as_batches

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["AveragedWeights", "update_bn"]


class AveragedWeights(Callback):
    """Averages the weights while they are trained, an `EMA` or `SWA`, and validates the average.

    `average` takes in the weights after each step or, with `every="epoch"`, at the end of each
    epoch, once `start_epoch` epochs are done. From then on the numbers of the validation are those
    of the averaged weights, and `EarlyStopping` keeps these; afterwards the model has them. A
    checkpoint holds both: training goes on from the weights that are trained, and
    `recurra.train.load_model(path, averaged=True)` takes out the averaged ones.

    `BatchNorm` has statistics beside its weights: average them, too, with the average's
    `use_buffers`, or call `update_bn` after the training.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import AveragedWeights, evaluate, fit
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = recurra.Linear(1, 1)
    >>> averaged = AveragedWeights(recurra.EMA(model, decay=0.9))
    >>> history = fit(
    ...     model, (x, 3 * x), recurra.mse, recurra.SGD(model.parameters(), lr=0.1), epochs=5,
    ...     validation=(x, 3 * x), callbacks=[averaged]
    ... )
    >>> evaluate(model, (x, 3 * x), recurra.mse)["loss"] == history["validation_loss"][-1]
    True
    """

    def __init__(self, average: Average, every: str = "step", start_epoch: int = 0) -> None:
        self.average = _an_average(average)
        self.every = checks.one_of("AveragedWeights", "every", every, ("step", "epoch"))
        self.start_epoch = checks.size("AveragedWeights", "start_epoch", start_epoch, 0)

    def on_fit_begin(self, run: Run) -> None:
        """An average of another model is refused before the first step."""
        self.average.checked("update", run.model)

    def on_step_end(self, run: Run) -> None:
        is_due = self.every == "step" or run.batch == len(run.data)
        if is_due and run.epoch >= self.start_epoch:
            self.average.update(run.model)

    def around_validation(self, run: Run) -> AbstractContextManager[None]:
        return self.average.applied(run.model) if self.average.count else nullcontext()

    def on_fit_end(self, run: Run) -> None:
        if self.average.count and not run.restored:
            self.average.copy_to(run.model)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])


def _an_average(value: object) -> Average:
    if isinstance(value, Average):
        return value
    got = type(value).__name__
    raise TypeError(f"AveragedWeights: average: expected an EMA or SWA, got {got}")


def update_bn(model: Module, data: Data, batch_size: int = 32) -> None:
    """Give every `BatchNorm` of a model the statistics that `data` has under its weights.

    They are the means over all batches, which are read once, with the model in training mode: so
    `fit` finds them, but for their momentum. For weights that were not trained on, such as
    averaged ones. After an error everything is as it was.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import update_bn
    >>> model, x = recurra.BatchNorm(1), np.array([[1], [3]], np.float32)
    >>> update_bn(model, (x, x))
    >>> model.running_mean, model.running_var
    (Buffer([2.], dtype=float32), Buffer([2.], dtype=float32))
    """
    caller = Caller(model, _unused)
    layers = [m for _, m in model.named_modules() if isinstance(m, BatchNorm)]
    tracking = [layer for layer in layers if layer.track_running_stats]
    batches = as_batches("data", data, batch_size, None)
    before, momenta = model.state_dict(), [layer.momentum for layer in tracking]
    try:
        for layer in tracking:
            _forget(layer)
        _read(caller, batches)
    except BaseException:
        model.load_state_dict(before)
        raise
    finally:
        for layer, momentum in zip(tracking, momenta, strict=True):
            layer.momentum = momentum


def _forget(layer: BatchNorm) -> None:
    layer.running_mean.data[...] = 0
    layer.running_var.data[...] = 1
    layer.num_batches_tracked.data[...] = 0
    layer.momentum = None  # the mean over all batches


def _read(caller: Caller, batches: Batches) -> None:
    state = None
    with loop.mode(caller.model, training=True), no_grad():
        for i, batch in enumerate(batches.epoch(0), 1):
            with loop.noting(f"update_bn: batch {i}"):
                _, state = caller.outputs(batch, state if batch.carries else None)


def _unused(outputs: Any, batch: Any) -> Any:
    """In the place of a loss."""
