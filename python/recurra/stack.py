"""A stack of recurrent layers: reading its inputs, running its cells in order, joining results.

One `Stack` serves three users: layers with gradients, packed layers and single steps. They differ
in what runs a cell, and in whether values are tensors or arrays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from recurra import checks, ops
from recurra.autograd import Tensor, as_tensor, core_node
from recurra.results import Array

__all__ = ["ARRAYS", "TENSORS", "Kind", "Stack"]


class Kind(NamedTuple):
    """How values are read and joined."""

    read: Callable[[str, str, Any, Any], Any]
    join: Callable[[Array, Sequence[Any]], Any]
    """The array that two directions wrote side by side, and what they returned, as one value."""
    stack: Callable[..., Any]


@dataclass(frozen=True)
class Stack:
    """The sizes of `num_layers` layers of a cell in one or two `directions`.

    `widths` has the features of each state: (P,) for `h`, or (P, H) for `h` and `c`; P is also
    the number of features that one direction puts out. Cells are numbered layer by layer, forward
    before reverse.
    """

    name: str
    input_size: int
    widths: tuple[int, ...]
    num_layers: int
    directions: int
    dtype: np.dtype[Any]

    @cached_property
    def cells(self) -> int:
        return self.num_layers * self.directions

    def run(
        self,
        kind: Kind,
        cell: Callable[..., tuple[Any, ...]],
        x: Any,
        state: Any,
        *,
        letters: str = "(B, T, I)",
        between: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, Any]:
        """The output of the last layer and the state of all.

        `cell(i, x, *state)` returns the output of cell `i` and then its states, which of a cell
        that is alone have the axis of cells already; with two directions it is given `y`, too, the
        place of its output. `between` is done to the input of every layer but the first.
        """
        x = self._read_x(kind, x, letters)
        states = self._split(kind, state, x.shape[0])
        if self.cells == 1:  # the usual case, without a detour
            x, *final = cell(0, x, *states[0])
            return x, final[0] if len(final) == 1 else tuple(final)
        finals = []
        for first in range(0, self.cells, self.directions):
            x = between(x) if between and first else x
            if self.directions == 1:
                x, *final = cell(first, x, *states[first])
                finals.append(final)
                continue
            width = self.widths[0]
            both = checks.room(self.name, "y", (*x.shape[:2], 2 * width), self.dtype)
            outputs = []
            for i, y in enumerate((both[..., :width], both[..., width:]), first):
                output, *final = cell(i, x, *states[i], y=y)
                outputs.append(output)
                finals.append(final)
            x = kind.join(both, outputs)
        return x, self._join(kind, finals)

    def _read_x(self, kind: Kind, x: Any, letters: str) -> Any:
        x = kind.read(self.name, "x", x, self.dtype)
        shape = x.shape
        if len(shape) != letters.count(",") + 1 or shape[-1] != self.input_size:
            wanted = letters.replace("I", f"I = {self.input_size}")
            raise ValueError(f"{self.name}: x: expected shape {wanted}, got {shape}")
        return x

    def _split(self, kind: Kind, state: Any, rows: int) -> list[tuple[Any, ...]]:
        """The states of each cell; none where there is no state."""
        if state is None:
            return [()] * self.cells
        parts = (state,) if len(self.widths) == 1 else state
        if not isinstance(parts, tuple | list) or len(parts) != len(self.widths):
            raise TypeError(f"{self.name}: state: expected (h, c), got {_describe(state)}")
        names = ("state h", "state c")[: len(self.widths)]
        read = [kind.read(self.name, *pair, self.dtype) for pair in zip(names, parts, strict=True)]
        for name, part, width in zip(names, read, self.widths, strict=True):
            letters = "(L*D, B, H)" if width == self.widths[-1] else "(L*D, B, P)"
            checks.shape(self.name, name, part, letters, (self.cells, rows, width))
        return [tuple(part[i] for part in read) for i in range(self.cells)]

    def _join(self, kind: Kind, finals: Sequence[Sequence[Any]]) -> Any:
        parts = [kind.stack(part) for part in zip(*finals, strict=True)]
        return parts[0] if len(self.widths) == 1 else tuple(parts)

    def finals(self, *states: Array | None) -> list[Array]:
        """The states of a cell, as `run` takes them from it; None is one that it has not."""
        found = [state for state in states if state is not None]
        return [state[None] for state in found] if self.cells == 1 else found


def _describe(state: Any) -> str:
    name = type(state).__name__
    return f"{name} of length {len(state)}" if isinstance(state, tuple | list) else name


def _read_array(operation: str, argument: str, value: Any, dtype: Any) -> Array:
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise TypeError(
                f"{operation}: {argument}: expected a value without gradient, got a tensor that "
                "requires grad; make it under no_grad() or detach() it"
            )
        value = value.data
    return checks.float_array(operation, argument, value, dtype)


def _join_tensors(both: Array, outputs: Sequence[Tensor]) -> Tensor:
    half = both.shape[-1] // 2

    def backward(dy: Array) -> tuple[Array, Array]:
        return dy[..., :half], dy[..., half:]

    return core_node("concatenate", (both,), outputs, backward, is_fresh=False)[0]


TENSORS = Kind(as_tensor, _join_tensors, ops.stack)
ARRAYS = Kind(_read_array, lambda both, _: both, np.stack)
