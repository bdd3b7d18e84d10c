"""Where a loss or a gradient that is no number arose: the first layer, and the step.

Nothing is looked at while numbers are finite. When a loss is not, the weights are those that it
was computed with, and so are the random numbers if their generator is set back: the forward pass
is done again, bit for bit, with an eye on every layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra import random
from recurra.autograd import Tensor, no_grad
from recurra.data import Batch
from recurra.module import Module

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["bad_gradient", "bad_loss"]


def bad_loss(run: Run, value: float, batch: Batch, state: Any, drawn: dict[str, int]) -> Exception:
    """The error for a loss that is infinite or NaN; `drawn` is the random state before it."""
    place = _in_data(batch) or _in_weights(run.model)
    if place is None:
        random.set_state(drawn)
        place = _in_layers(run, batch, state)
    return FloatingPointError(
        f"fit: loss: expected a finite one, got {value} {_when(run)}; it arose in {place}"
    )


def bad_gradient(run: Run, batch: Batch, state: Any, drawn: dict[str, int]) -> Exception:
    """The error for gradients that are infinite or NaN after a finite loss.

    Backward comes to the last layer first: of the layers with such a gradient it is the one.
    """
    random.set_state(drawn)
    order = [name for name, *_ in _traced(run, batch, state)]
    bad = [
        name
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and not np.isfinite(parameter.grad).all()
    ]
    ranks = {name: order.index(owner) for name in bad if (owner := _owner(name)) in order}
    first = max(ranks, key=lambda name: ranks[name]) if ranks else (bad or ["a sum of squares"])[0]
    return FloatingPointError(
        f"fit: gradient: expected a finite one, got one that is not {_when(run)}; "
        f"it arose in {first}"
    )


def _when(run: Run) -> str:
    return f"in step {run.step + 1} (epoch {run.epoch + 1}, batch {run.batch + 1})"


def _in_data(batch: Batch) -> str | None:
    for name in ("inputs", "targets", "weights"):
        value = getattr(batch, name)
        for part in value if isinstance(value, tuple) else (value,):
            if part is not None and (where := _first_bad(part)):
                return f"the {name} of the batch: {where}"
    return None


def _in_weights(model: Module) -> str | None:
    for name, parameter in model.named_parameters():
        if where := _first_bad(parameter):
            return f"the weights before the step: {name}, {where}"
    return None


def _in_layers(run: Run, batch: Batch, state: Any) -> str:
    for name, module, inputs, outputs in _traced(run, batch, state):
        label = f"layer {name or 'model'} ({type(module).__name__})"
        if where := _first_bad(*_tensors(inputs)):
            return f"what is done before {label}: {where} of its input"
        if where := _first_bad(*_tensors(outputs)):
            return f"{label}: {where} of its output"
    return "the loss: what the model put out is finite"


def _traced(run: Run, batch: Batch, state: Any) -> list[tuple[str, Module, Any, Any]]:
    """Each layer's name, inputs and outputs, in the order in which layers finished."""
    calls: list[tuple[str, Module, Any, Any]] = []
    with no_grad(), _watching(run.model, calls):
        run.caller.outputs(batch, state)
    return calls


@contextmanager
def _watching(model: Module, calls: list[tuple[str, Module, Any, Any]]) -> Iterator[None]:
    modules = list(model.named_modules())
    for name, module in modules:
        vars(module)["forward"] = _watched(name, module, module.forward, calls)
    try:
        yield
    finally:
        for _, module in modules:
            del vars(module)["forward"]


def _watched(name: str, module: Module, forward: Any, calls: list[Any]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = forward(*args, **kwargs)
        calls.append((name, module, (args, list(kwargs.values())), outputs))
        return outputs

    return call


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor | np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _first_bad(*values: Any) -> str:
    """Which number is not finite and where, as "nan at (row, step, feature)"; "" if all are."""
    for value in values:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind == "f" and not (good := np.isfinite(array)).all():
            # By time: of a sequence (B, T, ...) the earliest step says where it began.
            places = np.argwhere(~good)
            order = places[:, 1] if array.ndim > 2 else places[:, :1].ravel()
            where = tuple(int(i) for i in places[np.argmin(order)]) if array.ndim else ()
            return f"{array[where]} at {where}"
    return ""


def _owner(name: str) -> str:
    """The module of a parameter; one in a list of a module is the module's."""
    return name.rpartition(".")[0]
