"""Recurrent layers in plain NumPy: the readable spec, the tutorial, and the oracle of the tests.

The functions of `recurra.functional` with the same arguments and results (without `n_threads`),
written to be read. The equations and the papers they are from stand in `_reference_cells.py`; here
are the loop over time, forward and backward, and the functions that the world sees.

Letters: `B` batch rows, `T` time steps, `I` input features, `H` hidden units, `G` gates (RNN 1,
GRU 3, LSTM 4), `P` output features of a projected LSTM (elsewhere P is H).

    x (B, T, I)       input, batch first; for the `*_step` functions (B, I)
    w_ih (G*H, I)     input weights; the gates' rows one after the other: LSTM i f g o, GRU r z n
    w_hh (G*H, P)     recurrent weights
    b_ih, b_hh (G*H,) biases, each may be None
    w_hr (P, H)       projection of the LSTM's output, or None
    h0 (B, P), c0 (B, H)   state before the first step; None means zeros
    lengths (B,)      integers from 0 to T in any order: row b is valid up to lengths[b], what lies
                      behind is not looked at; None means T
    reverse           run each row from its last valid step to its first; y[:, t] stays at time t
    save              False keeps nothing for backward
    memory            "keep" or "low": how much `recurra.functional` keeps, which changes no result

All arrays have one dtype, float32 or float64. A wrong shape, dtype or option raises ValueError.
The backward functions return the gradients of

    sum(dy * y) + sum(dh_n * h_n) [+ sum(dc_n * c_n)]

where a `dy`, `dh_n` or `dc_n` left out counts as zeros. They may be called again with the same
`saved`, which holds copies of its own.

>>> import numpy as np
>>> from recurra import reference
>>> x, w_ih, w_hh = np.ones((1, 2, 1)), np.full((1, 1), 0.5), np.full((1, 1), 1.0)
>>> y, h_n, saved = reference.rnn_forward(x, w_ih, w_hh)
>>> bool(y[0, 1, 0] == np.tanh(0.5 + np.tanh(0.5)))
True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._reference_arguments import check_memory, read, read_inputs, read_lengths, read_state
from ._reference_cells import GRU, LSTM, RNN, Arrays, Cell, Weights, affine
from .results import (
    Array,
    GRUGradients,
    GRUOutput,
    LSTMGradients,
    LSTMOutput,
    LSTMProjectedGradients,
    LSTMState,
    RNNGradients,
    RNNOutput,
)

__all__ = [
    "gru_backward",
    "gru_forward",
    "gru_step",
    "lstm_backward",
    "lstm_forward",
    "lstm_step",
    "rnn_backward",
    "rnn_forward",
    "rnn_step",
]


def rnn_forward(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: str = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    save: bool = True,
    memory: str = "keep",
) -> RNNOutput:
    """Run one RNN layer in one direction (Elman 1990); `activation` is "tanh" or "relu".

    Return y (B, T, H), h_n (B, H), saved.

    >>> y, h_n, _ = rnn_forward(-np.ones((2, 3, 1)), [[1.0]], [[1.0]], activation="relu")
    >>> y.shape, h_n.tolist()
    ((2, 3, 1), [[0.0], [0.0]])
    """
    cell, w = _rnn("rnn_forward", activation), (w_ih, w_hh, b_ih, b_hh, None)
    y, (h_n,), saved = _forward("rnn_forward", cell, x, w, (h0,), lengths, reverse, save, memory)
    return RNNOutput(y, h_n, saved)


def rnn_backward(
    saved: object, dy: ArrayLike | None = None, dh_n: ArrayLike | None = None
) -> RNNGradients:
    """Return the gradients dx, dw_ih, dw_hh, db_ih, db_hh, dh0 of an `rnn_forward`.

    >>> saved = rnn_forward([[[2.0]]], [[3.0]], [[1.0]], activation="relu").saved
    >>> rnn_backward(saved, dh_n=[[1.0]]).dw_ih.tolist()
    [[2.0]]
    """
    dx, dw, (dh0,) = _backward("rnn", saved, dy, (dh_n,))
    return RNNGradients(dx, dw["w_ih"], dw["w_hh"], dw.get("b_ih"), dw.get("b_hh"), dh0)


def rnn_step(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: str = "tanh",
) -> Array:
    """Take one time step with x (B, I) from the state h0 and return the new state h (B, H).

    >>> rnn_step([[2.0]], [[3.0]], [[1.0]], h0=[[0.5]], activation="relu").tolist()
    [[6.5]]
    """
    cell, w = _rnn("rnn_step", activation), (w_ih, w_hh, b_ih, b_hh, None)
    return _step("rnn_step", cell, x, w, (h0,))[0]


def lstm_forward(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    w_hr: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    save: bool = True,
    memory: str = "keep",
) -> LSTMOutput:
    """Run one LSTM layer in one direction (Hochreiter & Schmidhuber 1997, Gers et al. 2000).

    Return y (B, T, P), h_n (B, P), c_n (B, H), saved, where P is H unless there is a projection
    `w_hr` (P, H) (Sak et al. 2014).

    >>> x, w_ih, w_hh = np.zeros((2, 3, 1)), np.zeros((4, 1)), np.zeros((4, 1))
    >>> lstm_forward(x, w_ih, w_hh, c0=np.ones((2, 1)), lengths=[1, 3]).c_n.tolist()
    [[0.5], [0.125]]
    """
    w = (w_ih, w_hh, b_ih, b_hh, w_hr)
    y, (h_n, c_n), saved = _forward(
        "lstm_forward", LSTM, x, w, (h0, c0), lengths, reverse, save, memory
    )
    return LSTMOutput(y, h_n, c_n, saved)


def lstm_backward(
    saved: object,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    dc_n: ArrayLike | None = None,
) -> LSTMGradients | LSTMProjectedGradients:
    """Return the gradients dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0[, dw_hr] of an `lstm_forward`.

    >>> saved = lstm_forward(np.zeros((1, 2, 1)), np.zeros((4, 1)), np.zeros((4, 1))).saved
    >>> lstm_backward(saved, dc_n=[[1.0]]).dc0.tolist()
    [[0.25]]
    """
    dx, dw, (dh0, dc0) = _backward("lstm", saved, dy, (dh_n, dc_n))
    fields = dx, dw["w_ih"], dw["w_hh"], dw.get("b_ih"), dw.get("b_hh"), dh0, dc0
    return LSTMProjectedGradients(*fields, dw["w_hr"]) if "w_hr" in dw else LSTMGradients(*fields)


def lstm_step(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    w_hr: ArrayLike | None = None,
) -> LSTMState:
    """Take one time step with x (B, I) from the state h0, c0; return the new h (B, P), c (B, H).

    >>> lstm_step([[1.0]], np.zeros((4, 1)), np.zeros((4, 1)), c0=[[3.0]]).c.tolist()
    [[1.5]]
    """
    h, c = _step("lstm_step", LSTM, x, (w_ih, w_hh, b_ih, b_hh, w_hr), (h0, c0))
    return LSTMState(h, c)


def gru_forward(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    reset_after: bool = True,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    save: bool = True,
    memory: str = "keep",
) -> GRUOutput:
    """Run one GRU layer in one direction (Cho et al. 2014). Return y (B, T, H), h_n (B, H), saved.

    `reset_after` says where the reset gate stands: True multiplies it with W_hn h + b_hn (PyTorch,
    cuDNN), False with h itself, as the paper does.

    >>> x, w_ih, w_hh = np.zeros((1, 2, 1)), np.zeros((3, 1)), np.zeros((3, 1))
    >>> gru_forward(x, w_ih, w_hh, h0=[[1.0]]).y.tolist()
    [[[0.5], [0.25]]]
    """
    cell, w = GRU[bool(reset_after)], (w_ih, w_hh, b_ih, b_hh, None)
    y, (h_n,), saved = _forward("gru_forward", cell, x, w, (h0,), lengths, reverse, save, memory)
    return GRUOutput(y, h_n, saved)


def gru_backward(
    saved: object, dy: ArrayLike | None = None, dh_n: ArrayLike | None = None
) -> GRUGradients:
    """Return the gradients dx, dw_ih, dw_hh, db_ih, db_hh, dh0 of a `gru_forward`.

    >>> saved = gru_forward(np.zeros((1, 2, 1)), np.zeros((3, 1)), np.zeros((3, 1))).saved
    >>> gru_backward(saved, dh_n=[[1.0]]).dh0.tolist()
    [[0.25]]
    """
    dx, dw, (dh0,) = _backward("gru", saved, dy, (dh_n,))
    return GRUGradients(dx, dw["w_ih"], dw["w_hh"], dw.get("b_ih"), dw.get("b_hh"), dh0)


def gru_step(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> Array:
    """Take one time step with x (B, I) from the state h0 and return the new state h (B, H).

    >>> gru_step([[1.0]], np.zeros((3, 1)), np.zeros((3, 1)), h0=[[3.0]]).tolist()
    [[1.5]]
    """
    cell, w = GRU[bool(reset_after)], (w_ih, w_hh, b_ih, b_hh, None)
    return _step("gru_step", cell, x, w, (h0,))[0]


def _rnn(operation: str, activation: str) -> Cell:
    if activation not in RNN:
        raise ValueError(f'{operation}: activation: expected "tanh" or "relu", got {activation!r}')
    return RNN[activation]


# --- The loop over time, the same for every cell.


class _Moment(NamedTuple):
    t: int
    state: Arrays  # before the step
    kept: Arrays


@dataclass(frozen=True)
class _Saved:
    cell: Cell
    w: Weights
    x: Array
    valid: NDArray[np.bool_]  # (B, T, 1)
    moments: tuple[_Moment, ...]


def _where(valid: NDArray[np.bool_], new: Sequence[Array], old: Sequence[Array]) -> Arrays:
    return tuple(np.where(valid, n, o) for n, o in zip(new, old, strict=True))


def _forward(
    operation: str,
    cell: Cell,
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    state: Sequence[ArrayLike | None],
    lengths: ArrayLike | None,
    reverse: bool,
    save: bool,
    memory: str,
) -> tuple[Array, Arrays, _Saved | None]:
    check_memory(operation, memory, save)
    x, w, state = read_inputs(operation, cell, "(B, T, I)", x, weights, state)
    B, T, _ = x.shape
    valid = (np.arange(T) < read_lengths(operation, lengths, B, T)[:, None])[:, :, None]
    x, y, moments = np.where(valid, x, 0), np.zeros((B, T, w.w_hh.shape[1]), x.dtype), []
    for t in reversed(range(T)) if reverse else range(T):
        new, kept = cell.forward(w, affine(x[:, t], w.w_ih, w.b_ih), state)
        if save:
            moments.append(_Moment(t, state, kept))
        y[:, t] = np.where(valid[:, t], new[0], 0)
        state = _where(valid[:, t], new, state)  # a row that is over, or not begun, stands still
    return y, state, _Saved(cell, w, x, valid, tuple(moments)) if save else None


def _backward(
    name: str, saved: object, dy: ArrayLike | None, dstate: Sequence[ArrayLike | None]
) -> tuple[Array, dict[str, Array], Arrays]:
    """Walk the steps from the last one taken to the first: backpropagation through time."""
    saved, dy, dstate = _read_gradients(name, saved, dy, dstate)
    w, dx = saved.w, np.zeros_like(saved.x)
    dw = {key: np.zeros_like(value) for key, value in w._asdict().items() if value is not None}
    for t, state, kept in reversed(saved.moments):
        valid = saved.valid[:, t]
        dh, *dc = (np.where(valid, d, 0) for d in dstate)
        dh = dh + np.where(valid, dy[:, t], 0)
        da, dbefore, grads = saved.cell.backward(w, state, kept, (dh, *dc))
        grads |= {"w_ih": da.T @ saved.x[:, t], "b_ih": da.sum(axis=0)}
        for key in dw:
            dw[key] += grads[key]
        dx[:, t] = da @ w.w_ih
        dstate = _where(valid, dbefore, dstate)
    return dx, dw, dstate


def _step(
    operation: str,
    cell: Cell,
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    state: Sequence[ArrayLike | None],
) -> Arrays:
    x, w, state = read_inputs(operation, cell, "(B, I)", x, weights, state)
    return cell.forward(w, affine(x, w.w_ih, w.b_ih), state)[0]


def _read_gradients(
    name: str, saved: object, dy: ArrayLike | None, dstate: Sequence[ArrayLike | None]
) -> tuple[_Saved, Array, Arrays]:
    operation = f"{name}_backward"
    if not isinstance(saved, _Saved) or saved.cell.name != name:
        got = f"that of {saved.cell.name}_forward" if isinstance(saved, _Saved) else repr(saved)
        raise ValueError(f"{operation}: saved: expected that of {name}_forward, got {got}")
    w, x = saved.w, saved.x
    P, p = w.w_hh.shape[1], "H" if w.w_hr is None else "P"
    shape = (*x.shape[:2], P)
    if dy is not None:
        dy = read(f"{operation}: dy", dy, f"(B, T, {p})", shape, x.dtype)
    else:
        dy = np.zeros(shape, x.dtype)
    return saved, dy, read_state(operation, ("dh_n", "dc_n"), dstate, saved.cell, w, x)
