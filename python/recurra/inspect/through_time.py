"""The gradient at the state of every step: backpropagation through time, one step at a time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra._recurrent import PARAMETERS, Cell
from recurra.results import Array

__all__ = ["StateGradients", "walk"]


class StateGradients(NamedTuple):
    """dL/dh_t and dL/dc_t at every step t of a layer and direction; NaN past a row's length.

    The state after step t is one value to what follows: `dh` is the gradient with respect to its
    h, through the output at t and through all that comes after; `dc` is with respect to its c,
    while h is held, so it has come from later steps alone.
    """

    dh: Array
    """(B, T, P)"""
    dc: Array | None
    """(B, T, H), LSTM only."""
    valid: NDArray[np.bool_]
    """(B, T): which rows have the step."""

    def norms(self) -> NDArray[np.float64]:
        """The 2-norm of `dh` at every step, over rows and units: (T,), NaN where no row is.

        >>> import numpy as np
        >>> from recurra.inspect import StateGradients
        >>> dh = np.array([[[3.0], [1.0]], [[4.0], [np.nan]]])
        >>> StateGradients(dh, None, valid=np.array([[True, True], [True, False]])).norms()
        array([5., 1.])
        """
        return np.array([_norm(self.dh[rows, t]) for t, rows in enumerate(self.valid.T)])


def walk(
    cell: Cell,
    arrays: Mapping[str, Array],
    lengths: NDArray[np.int64] | None,
    reverse: bool,
    gradients: Sequence[Array | None],
) -> StateGradients:
    """The gradients at the states of a call that got `gradients` of y, h_n and c_n.

    Every step is a call of the core: the bits are those of the whole sequence, because a sequence
    may be cut anywhere.
    """
    x = arrays["x"]
    B, T, _ = x.shape
    valid = np.arange(T) < (np.full(B, T) if lengths is None else lengths)[:, None]
    order = range(T)[::-1] if reverse else range(T)
    saved = _forward_steps(cell, arrays, valid, order)
    dy, *dstate = [*gradients, *[None] * 3][: 1 + cell.states]
    state = [_or_zeros(g, s) for g, s in zip(dstate, _state(cell, arrays), strict=True)]
    found = [np.full((B, T, part.shape[1]), np.nan, x.dtype) for part in state]
    for t in reversed(order):
        rows = valid[:, t]
        above = 0 if dy is None else dy[rows, t]
        for at, part, more in zip(found, state, (above, 0), strict=False):
            at[rows, t] = part[rows] + more
        step = None if dy is None else dy[:, t : t + 1]
        back = cell.backward(saved[t], step, *state, input_gradient=False)
        state = [getattr(back, name) for name in ("dh0", "dc0")[: cell.states]]
    return StateGradients(found[0], found[1] if cell.states == 2 else None, valid)


def _forward_steps(
    cell: Cell, arrays: Mapping[str, Array], valid: NDArray[np.bool_], order: Sequence[int]
) -> dict[int, object]:
    """What backward needs of each step."""
    given = {name: arrays[name] for name in PARAMETERS if name in arrays}
    weights = cell.pack(**given, training=True)
    x, state, saved = arrays["x"], _state(cell, arrays), {}
    for t in order:
        steps = valid[:, t].astype(np.int64)  # a row that is over, or not begun, stands still
        _, *new, saved[t] = weights.forward(x[:, t : t + 1], *state, lengths=steps, save=True)
        state = new[: cell.states]
    return saved


def _state(cell: Cell, arrays: Mapping[str, Array]) -> list[Array]:
    """The state before the first step."""
    x, w_hh = arrays["x"], arrays["w_hh"]
    widths = (w_hh.shape[1], len(w_hh) // cell.gates)[: cell.states]
    names = ("h0", "c0")[: cell.states]
    zeros = [np.zeros((len(x), width), x.dtype) for width in widths]
    return [arrays.get(name, z) for name, z in zip(names, zeros, strict=True)]


def _or_zeros(gradient: Array | None, like: Array) -> Array:
    return np.zeros_like(like) if gradient is None else gradient


def _norm(values: Array) -> float:
    """The 2-norm, of which the squares neither overflow nor vanish; NaN of nothing."""
    if not values.size:
        return float("nan")
    largest = float(np.abs(values).max())
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(values.astype(np.float64) / largest))
