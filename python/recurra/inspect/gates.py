"""Gates and states of a layer over a sequence, from the readable reference."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from recurra import reference
from recurra._recurrent import Cell
from recurra.results import Array

__all__ = ["GATES", "Activations", "run_reference"]

# What the reference keeps of a step, in its order, as far as it is a gate.
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


def run_reference(
    cell: Cell, arrays: Mapping[str, Array], lengths: Any, reverse: bool
) -> Activations:
    """The activations of a call, computed again in plain NumPy."""
    forward = getattr(reference, cell.forward.__name__)
    output = forward(**arrays, **cell.options, lengths=lengths, reverse=reverse)
    saved = output.saved
    names = GATES[saved.cell.name]
    kept = [moment.kept for moment in sorted(saved.moments, key=lambda moment: moment.t)]
    B, T, _ = saved.x.shape
    shape = (B, T, len(arrays["w_hh"]) // saved.cell.gates)

    def over_time(i: int) -> Array:
        values = np.empty(shape, saved.x.dtype)
        for t, step in enumerate(kept):
            values[:, t] = step[i]
        return np.where(saved.valid, values, np.nan).astype(values.dtype)

    gates = {name: over_time(i) for i, name in enumerate(names)}
    c = over_time(len(names)) if saved.cell.name == "lstm" else None
    h = np.where(saved.valid, output.y, np.nan).astype(output.y.dtype)
    return Activations(gates, h, c)
