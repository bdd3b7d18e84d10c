"""The parameters of a group that have gradients, as the updates take them: in lists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any, TypeAlias

import numpy as np

from recurra import checks
from recurra.autograd import Tensor
from recurra.results import Array

__all__ = ["Members", "State", "Together", "gathered", "ready"]

State: TypeAlias = dict[str, Any]
"""The moments of a parameter and its "step", the number of updates."""
Together: TypeAlias = dict[str, list[Any]]
"""The states of several parameters."""


@dataclass
class Members:
    """Parameters that are updated together, and what is the same in their next step."""

    names: list[str]
    parameters: list[Tensor]
    values: list[Array]
    forms: list[tuple[Any, ...]]
    """The dtypes and the shapes."""
    state: Together

    def grads(self, count: int) -> list[Array] | None:
        """The gradients of `count` parameters, if these are all, and all is as it was before."""
        # Small models spend their time here: the loops are those of C.
        grads: list[Any] = [p.grad for p in self.parameters]
        is_as_before = (
            len(grads) == count
            and {*map(type, grads)} == {np.ndarray}
            and [*map(_form, grads)] == self.forms
            and all(map(is_, [p._array for p in self.parameters], self.values))
            and all(map(_is_ready, self.values))
        )
        return grads if is_as_before else None


def gathered(parameters: Mapping[str, Tensor], states: Sequence[State]) -> Members:
    """Parameters by name and the state of each, which all have the same keys."""
    values = [p._array for p in parameters.values()]
    together = {key: [state[key] for state in states] for state in states[:1] for key in state}
    forms = [*map(_form, values)]
    return Members([*parameters], [*parameters.values()], values, forms, together)


_form = attrgetter("dtype", "shape")
_is_ready = attrgetter("flags.carray")


def ready(kind: str, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that have a gradient, which fits."""
    found = {name: p for name, p in params.items() if p.grad is not None}
    for name, parameter in found.items():
        data = parameter._array
        operation, argument = f"{kind}.step", f"grad of {name}"
        grad = checks.float_array(operation, argument, parameter.grad, data.dtype)
        checks.shape(operation, argument, grad, "of the parameter", data.shape)
        if not data.flags.carray:
            raise ValueError(
                f"{operation}: {name}: expected a writable C-contiguous array, got one that is not"
            )
    return found
