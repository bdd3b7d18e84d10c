"""How the model and the loss are called for a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from recurra import checks
from recurra._routing import arguments
from recurra.autograd import Tensor
from recurra.data import Batch
from recurra.metrics.counted import row_weight, target_weights, total_weight, valid_steps
from recurra.module import Module

__all__ = ["Caller", "Loss", "detached"]

Loss: TypeAlias = Callable[..., Tensor]


class Caller:
    """Looks once at what the model's `forward` and the loss take, and calls them so.

    The model is called with the inputs, with `lengths=` if the batch has any, and with `state=`
    if its forward has such an argument, which then returns `(outputs, state)`. A loss whose
    second argument is called `batch` is given the batch, any other the targets. Steps past the
    lengths have weight 0 for a loss that takes `weights=` and are left out for one that does not,
    unless it takes `lengths=`. What a batch has and nobody takes is refused.
    """

    def __init__(self, model: Module, loss: Loss) -> None:
        checks.instance("fit", "model", model, Module, "a Module")
        self.model, self.loss = model, loss
        takes = arguments(model)
        self.takes_lengths, self.takes_state = "lengths" in takes, "state" in takes
        names = _parameters("loss", loss)
        self._wants_batch = list(names)[1:2] == ["batch"]
        self._loss_lengths, self._loss_weights = "lengths" in names, "weights" in names

    def outputs(self, batch: Batch, state: Any) -> tuple[Any, Any]:
        """What the model puts out for a batch, and its state (None for a model without)."""
        inputs = batch.inputs if isinstance(batch.inputs, tuple) else (batch.inputs,)
        if batch.lengths is not None:
            if not self.takes_lengths:
                raise TypeError(_refused("lengths", self.model, "lengths"))
            if not self._wants_batch and hasattr(self.model, "output_lengths"):
                self._refuse_other_steps(batch, np.shape(inputs[0])[1:2])
            if self.takes_state:
                return self._pair(self.model(*inputs, state=state, lengths=batch.lengths))
            return self.model(*inputs, lengths=batch.lengths), None
        if self.takes_state:
            return self._pair(self.model(*inputs, state=state))
        if batch.carries:
            raise TypeError(_refused("state", self.model, "a state that is carried"))
        return self.model(*inputs), None

    def value(self, outputs: Any, batch: Batch) -> Tensor:
        """The loss of a batch."""
        if self._wants_batch:
            return self._checked(self.loss(outputs, batch))
        if batch.weights is None and batch.lengths is None:  # the usual case, without a detour
            return self._checked(self.loss(outputs, batch.targets))
        return self._checked(self._value_of_some(outputs, batch))

    def _value_of_some(self, outputs: Any, batch: Batch) -> Tensor:
        if batch.weights is not None and not self._loss_weights:
            raise TypeError(
                "fit: loss: expected one that takes `weights`, or (outputs, batch), for batches "
                f"with weights, got {_name(self.loss)}"
            )
        steps = None if self._loss_lengths else valid_steps(batch)
        if batch.lengths is not None and not self._loss_lengths:
            self._refuse_several_in_time(batch)
        if steps is not None and not self._loss_weights:
            return self.loss(outputs[steps], batch.targets[steps])
        options = {"lengths": batch.lengths} if self._loss_lengths else {}
        if (weights := target_weights(batch, steps)) is not None:
            options["weights"] = weights
        return self.loss(outputs, batch.targets, **options)

    def weight(self, batch: Batch) -> float:
        """How much the loss of a batch counts in a mean over batches.

        One that takes `lengths=` is a mean over rows, as `CRF.loss` is, any other over targets.
        """
        over_rows = self._loss_lengths and not self._wants_batch
        return row_weight(batch) if over_rows else total_weight(batch)

    def _refuse_several_in_time(self, batch: Batch) -> None:
        """Refuse several targets with padding: which outputs belong to which is not known."""
        targets = batch.targets if isinstance(batch.targets, tuple) else ()
        if any(valid_steps(batch._replace(targets=part)) is not None for part in targets):
            raise TypeError(
                "fit: loss: expected a function of (outputs, batch) for several targets with "
                f"lengths, got {_name(self.loss)}"
            )

    def _refuse_other_steps(self, batch: Batch, steps: tuple[int, ...]) -> None:
        """Refuse targets at steps of the model's own, which have other lengths than the batch."""
        model: Any = self.model
        new = model.output_lengths(steps)
        if new is not None and getattr(batch.targets, "shape", ())[1:2] == tuple(new) != steps:
            raise TypeError(
                f"fit: loss: expected a function of (outputs, batch) for targets at {new[0]} steps "
                f"and inputs of {steps[0]}, got {_name(self.loss)}; the lengths of the outputs are "
                "model.output_lengths(batch.lengths)"
            )

    def _pair(self, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                "fit: model: expected (outputs, state) from a forward that takes a state, "
                f"got {type(result).__name__}"
            )
        return result

    def _checked(self, loss: Any) -> Tensor:
        if not isinstance(loss, Tensor) or loss.size != 1:
            form = loss.shape if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"fit: loss: expected a tensor with one element, got {form}")
        return loss


def detached(state: Any) -> Any:
    """A state without what it was made from: gradients stop here."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, list | tuple):
        parts = [detached(part) for part in state]
        return parts if isinstance(state, list) else tuple(parts)
    if isinstance(state, dict):
        return {name: detached(part) for name, part in state.items()}
    return state


def _parameters(argument: str, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    if not callable(function):
        raise TypeError(f"fit: {argument}: expected a function, got {type(function).__name__}")
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError:  # one of C that does not say
        return {}


def _refused(argument: str, model: Module, what: str) -> str:
    return (
        f"fit: model: expected a forward that takes `{argument}` for batches with {what}, "
        f"got {_name(model)}"
    )


def _name(value: Any) -> str:
    return getattr(value, "__name__", None) or type(value).__name__
