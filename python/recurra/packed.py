"""Recurrent layers with packed weights, for inference."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.results import Array
from recurra.stack import ARRAYS, Stack

if TYPE_CHECKING:
    from recurra._core import Weights

__all__ = ["PackedLayer"]


class PackedLayer:
    """A snapshot of an `RNN`, `LSTM` or `GRU` as the kernels read it: `layer.packed()` makes one.

    The weights are packed once and never change, whatever happens to the layer afterwards. Arrays
    go in and come out, there are no gradients, and dropout is off. One snapshot may serve many
    threads and any number of states.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.GRU(3, 8, num_layers=2)
    >>> packed, x = layer.packed(), np.ones((1, 4, 3), np.float32)
    >>> whole, _ = packed(x)
    >>> state = None
    >>> for t in range(4):
    ...     y, state = packed.step(x[:, t], state)
    >>> bool((y == whole[:, -1]).all())
    True
    """

    def __init__(self, stack: Stack, weights: Sequence["Weights"]) -> None:
        self._stack = stack
        self._weights = tuple(weights)

    def __call__(self, x: Array, state: Any = None, lengths: object = None) -> tuple[Array, Any]:
        """What the layer's `forward` returns, as arrays: y (B, T, D*H) and the state."""

        def cell(i: int, x: Array, *state: Array, y: Array | None = None) -> tuple[Array, ...]:
            reverse = i % self._stack.directions == 1
            y, h_n, c_n, _ = self._weights[i].forward(
                x, *state, lengths=lengths, reverse=reverse, save=False, y=y
            )
            return y, *self._stack.finals(h_n, c_n)

        return self._stack.run(ARRAYS, cell, x, state)

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """One time step: x (B, I) and the state to y (B, H) and the new state."""
        one = self._one_cell(x, state)
        if one is not None:
            h, c = self._weights[0].step(*one)
            return h, h[None] if c is None else (h[None], c[None])
        refuse_two_directions(self._stack)

        def cell(i: int, x: Array, *state: Array) -> tuple[Array, ...]:
            h, c = self._weights[i].step(x, *state)
            return h, *self._stack.finals(h, c)

        return self._stack.run(ARRAYS, cell, x, state, letters="(B, I)")

    def _one_cell(self, x: Any, state: Any) -> list[Array] | None:
        """The arguments of a single cell's step, if there is nothing to convert or to explain.

        A step takes microseconds; reading its arguments in general takes more.
        """
        if len(self._weights) != 1 or type(x) is not np.ndarray:
            return None
        if state is None:
            return [x]
        parts = state if type(state) is tuple else (state,)
        if len(parts) != len(self._stack.widths):
            return None
        for part in parts:
            if type(part) is not np.ndarray or part.ndim != 3 or len(part) != 1:
                return None
        return [x, *[part[0] for part in parts]]

    def __repr__(self) -> str:
        return f"PackedLayer({self._stack.name}, {len(self._weights)} cells)"


def refuse_two_directions(stack: Stack) -> None:
    """The reverse direction begins at the end, which is not known while steps arrive."""
    if stack.directions == 2:
        raise ValueError(
            f"{stack.name}.step: layer: expected one direction, got a bidirectional layer, whose "
            "reverse half needs the whole sequence"
        )
