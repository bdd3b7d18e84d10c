"""The named tuples that the layer functions return.

`recurra.functional` and `recurra.reference` share them, so a result of one can stand for a result
of the other. Letters: `B` batch rows, `T` time steps, `I` input features, `H` hidden units,
`G` gates (RNN 1, GRU 3, LSTM 4), `P` features of a projected LSTM's output. All arrays of one
result have the dtype of the inputs, float32 or float64. They unpack like any tuple:

>>> import numpy as np
>>> from recurra.results import LSTMState
>>> h, c = LSTMState(h=np.zeros((2, 3)), c=np.ones((2, 3)))
>>> c.sum()
np.float64(6.0)
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "GRUGradients",
    "GRUOutput",
    "LSTMGradients",
    "LSTMOutput",
    "LSTMProjectedGradients",
    "LSTMState",
    "RNNGradients",
    "RNNOutput",
]

Array: TypeAlias = NDArray[np.floating[Any]]
"""A float32 or float64 array."""


class RNNOutput(NamedTuple):
    """What `rnn_forward` returns."""

    y: Array
    """(B, T, H): the hidden state at every step, exactly 0 past a row's length."""
    h_n: Array
    """(B, H): the state after the last valid step, `h0` for a row of length 0."""
    saved: object | None
    """What `rnn_backward` takes; None if `save=False`."""


class LSTMOutput(NamedTuple):
    """What `lstm_forward` returns. With a projection, P stands in place of H in `y` and `h_n`."""

    y: Array
    """(B, T, H): the hidden state at every step, exactly 0 past a row's length."""
    h_n: Array
    """(B, H): the hidden state after the last valid step, `h0` for a row of length 0."""
    c_n: Array
    """(B, H): the cell state after the last valid step, `c0` for a row of length 0."""
    saved: object | None
    """What `lstm_backward` takes; None if `save=False`."""


class GRUOutput(NamedTuple):
    """What `gru_forward` returns."""

    y: Array
    """(B, T, H): the hidden state at every step, exactly 0 past a row's length."""
    h_n: Array
    """(B, H): the state after the last valid step, `h0` for a row of length 0."""
    saved: object | None
    """What `gru_backward` takes; None if `save=False`."""


class LSTMState(NamedTuple):
    """What `lstm_step` returns: the state after the step."""

    h: Array
    """(B, H), with a projection (B, P): the hidden state, which is also the step's output."""
    c: Array
    """(B, H): the cell state."""


class RNNGradients(NamedTuple):
    """What `rnn_backward` returns: one gradient for each array given to `rnn_forward`."""

    dx: Array | Any
    """(B, T, I): exactly 0 past a row's length. None with `input_gradient=False`."""
    dw_ih: Array
    """(H, I)"""
    dw_hh: Array
    """(H, H)"""
    db_ih: Array | None
    """(H,), or None if there was no `b_ih`."""
    db_hh: Array | None
    """(H,), or None if there was no `b_hh`."""
    dh0: Array
    """(B, H), whether or not `h0` was given."""


class LSTMGradients(NamedTuple):
    """What `lstm_backward` returns: one gradient for each array given to `lstm_forward`."""

    dx: Array | Any
    """(B, T, I): exactly 0 past a row's length. None with `input_gradient=False`."""
    dw_ih: Array
    """(4*H, I)"""
    dw_hh: Array
    """(4*H, H)"""
    db_ih: Array | None
    """(4*H,), or None if there was no `b_ih`."""
    db_hh: Array | None
    """(4*H,), or None if there was no `b_hh`."""
    dh0: Array
    """(B, H), whether or not `h0` was given."""
    dc0: Array
    """(B, H), whether or not `c0` was given."""


class LSTMProjectedGradients(NamedTuple):
    """What `lstm_backward` returns for an LSTM with a projection `w_hr`."""

    dx: Array | Any
    """(B, T, I): exactly 0 past a row's length. None with `input_gradient=False`."""
    dw_ih: Array
    """(4*H, I)"""
    dw_hh: Array
    """(4*H, P)"""
    db_ih: Array | None
    """(4*H,), or None if there was no `b_ih`."""
    db_hh: Array | None
    """(4*H,), or None if there was no `b_hh`."""
    dh0: Array
    """(B, P), whether or not `h0` was given."""
    dc0: Array
    """(B, H), whether or not `c0` was given."""
    dw_hr: Array
    """(P, H)"""


class GRUGradients(NamedTuple):
    """What `gru_backward` returns: one gradient for each array given to `gru_forward`."""

    dx: Array | Any
    """(B, T, I): exactly 0 past a row's length. None with `input_gradient=False`."""
    dw_ih: Array
    """(3*H, I)"""
    dw_hh: Array
    """(3*H, H)"""
    db_ih: Array | None
    """(3*H,), or None if there was no `b_ih`."""
    db_hh: Array | None
    """(3*H,), or None if there was no `b_hh`."""
    dh0: Array
    """(B, H), whether or not `h0` was given."""
