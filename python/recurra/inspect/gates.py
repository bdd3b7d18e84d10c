"""Gates and states of a layer over a sequence.

The core says the hidden states; with them known, the gates of all steps are one application of the
readable equations of `recurra.reference`, without its loop over time.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra import _reference_cells as equations
from recurra._recurrent import Cell
from recurra.results import Array

__all__ = ["GATES", "Activations", "find"]

# What the equations keep of a step, in their order, as far as it is a gate.
GATES = {"rnn": (), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


class Activations(NamedTuple):
    """What a layer and direction did at every step; NaN past a row's length."""

    gates: dict[str, Array]
    """(B, T, H) each: LSTM `i f g o`, GRU `r z n`, none for an RNN. The values that the equations
    multiply with: after the sigmoid or tanh."""
    h: Array
    """(B, T, P): the hidden state after each step."""
    c: Array | None
    """(B, T, H): the cell state after each step, LSTM only."""


def find(
    cell: Cell, arrays: Mapping[str, Array], lengths: NDArray[np.int64] | None, reverse: bool
) -> Activations:
    """The activations of a call, computed again."""
    x = arrays["x"]
    B, T, _ = x.shape
    n = np.full(B, T) if lengths is None else lengths
    valid = (np.arange(T) < n[:, None])[:, :, None]
    y = cell.forward(**arrays, **cell.options, lengths=n, reverse=reverse, save=False)[0]
    h = _before(y, arrays.get("h0"), n, reverse)
    spec = _equations(cell)
    kept = _all_steps(spec, arrays, np.where(valid, x, 0), h)
    gates = dict(zip(GATES[spec.name], kept, strict=False))
    c = _cell_states(gates, arrays.get("c0"), valid, reverse) if spec.name == "lstm" else None
    shown = {name: _masked(values, valid) for name, values in gates.items()}
    return Activations(shown, _masked(y, valid), None if c is None else _masked(c, valid))


def _equations(cell: Cell) -> equations.Cell:
    name = cell.forward.__name__
    if name == "lstm_forward":
        return equations.LSTM
    if name == "gru_forward":
        return equations.GRU[cell.options["reset_after"]]
    return equations.RNN[cell.options["activation"]]


def _before(y: Array, h0: Array | None, n: NDArray[np.int64], reverse: bool) -> Array:
    """The state that each step started from: the output of the step before it, or h0."""
    before, rows = np.zeros_like(y), np.flatnonzero(n > 0)
    if reverse:
        before[:, :-1] = y[:, 1:]
    else:
        before[:, 1:] = y[:, :-1]
    before[rows, n[rows] - 1 if reverse else 0] = 0 if h0 is None else h0[rows]
    return before


def _all_steps(
    spec: equations.Cell, arrays: Mapping[str, Array], x: Array, h: Array
) -> list[Array]:
    """What the equations keep of every step: (B, T, H) each, the steps being rows of one batch."""
    biases = [arrays.get(name) for name in ("b_ih", "b_hh", "w_hr")]
    w = equations.Weights(arrays["w_ih"], arrays["w_hh"], *biases)
    B, T, _ = x.shape
    a = equations.affine(x.reshape(B * T, -1), w.w_ih, w.b_ih)
    state = [h.reshape(B * T, -1)]
    if spec.name == "lstm":  # no gate looks at the cell state
        state.append(np.zeros((B * T, len(w.w_hh) // spec.gates), x.dtype))
    _, kept = spec.forward(w, a, tuple(state))
    return [values.reshape(B, T, -1) for values in kept]


def _cell_states(
    gates: Mapping[str, Array], c0: Array | None, valid: NDArray[np.bool_], reverse: bool
) -> Array:
    """c' = f c + i g, step by step."""
    i, f, g, _ = gates.values()
    states = np.zeros_like(i)
    c = np.zeros_like(i[:, 0]) if c0 is None else c0
    order = range(i.shape[1])
    for t in reversed(order) if reverse else order:
        c = np.where(valid[:, t], f[:, t] * c + i[:, t] * g[:, t], c)
        states[:, t] = c
    return states


def _masked(values: Array, valid: NDArray[np.bool_]) -> Array:
    return np.where(valid, values, np.asarray(np.nan, values.dtype))
