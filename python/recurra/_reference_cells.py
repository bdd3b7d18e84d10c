"""The equations of one time step, forward next to backward: the heart of `recurra.reference`.

A cell sees its input only through `a = x @ w_ih.T + b_ih` of the step, (B, G*H); `state` is (h,) or
(h, c). The loop over time, with lengths, directions and the gradients of x, w_ih and b_ih, is the
same for every cell and stands in `recurra.reference`, which also says what the letters mean.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from .results import Array

Arrays: TypeAlias = tuple[Array, ...]


class Weights(NamedTuple):
    """The weights of a layer, copied; None for those it does not have."""

    w_ih: Array
    w_hh: Array
    b_ih: Array | None
    b_hh: Array | None
    w_hr: Array | None


class Cell(NamedTuple):
    """One time step and its gradient.

    forward(w, a, state) -> (new state, kept): `kept` is what backward needs.
    backward(w, state, kept, dnew) -> (da, dstate, gradients of w_hh, b_hh, w_hr by name): `dnew` is
    the gradient at the new state, `dstate` at the old one, `da` at `a`.
    """

    name: str
    gates: int
    forward: Callable[[Weights, Array, Arrays], tuple[Arrays, Arrays]]
    backward: Callable[[Weights, Arrays, Arrays, Arrays], tuple[Array, Arrays, dict[str, Array]]]


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """Return x (B, I) times w (O, I), plus b (O,) if there is one: (B, O)."""
    return x @ w.T if b is None else x @ w.T + b


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a))."""
    e = np.exp(-np.abs(a))  # never overflows, and small results keep their relative precision
    s: Array = np.where(a >= 0, 1, e) / (1 + e)
    return s


# --- RNN: Elman, Finding Structure in Time (1990). act is tanh or relu.
#
#     h' = act(W_ih x + b_ih + W_hh h + b_hh)


def _rnn_cell(w: Weights, a: Array, state: Arrays, *, relu: bool) -> tuple[Arrays, Arrays]:
    a = a + affine(state[0], w.w_hh, w.b_hh)
    h_new: Array = np.maximum(a, 0) if relu else np.tanh(a)
    return (h_new,), (h_new,)


def _rnn_cell_backward(
    w: Weights, state: Arrays, kept: Arrays, dnew: Arrays, *, relu: bool
) -> tuple[Array, Arrays, dict[str, Array]]:
    (h,), (h_new,), (dh_new,) = state, kept, dnew
    da = dh_new * (h_new > 0) if relu else dh_new * (1 - h_new**2)
    return da, (da @ w.w_hh,), {"w_hh": da.T @ h, "b_hh": da.sum(axis=0)}


RNN = {
    name: Cell("rnn", 1, partial(_rnn_cell, relu=relu), partial(_rnn_cell_backward, relu=relu))
    for name, relu in (("tanh", False), ("relu", True))
}


# --- LSTM: Hochreiter & Schmidhuber, Long Short-Term Memory (1997), with the forget gate of Gers,
# Schmidhuber & Cummins, Learning to Forget (2000); with the projection W_hr of Sak, Senior &
# Beaufays, Long Short-Term Memory Recurrent Neural Network Architectures (2014).
#
#     i  = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
#     f  = sigmoid(W_if x + b_if + W_hf h + b_hf)
#     g  = tanh   (W_ig x + b_ig + W_hg h + b_hg)
#     o  = sigmoid(W_io x + b_io + W_ho h + b_ho)
#     c' = f * c + i * g
#     h' = o * tanh(c')                          with a projection: W_hr (o * tanh(c'))


def _lstm_cell(w: Weights, a: Array, state: Arrays) -> tuple[Arrays, Arrays]:
    h, c = state
    a_i, a_f, a_g, a_o = np.split(a + affine(h, w.w_hh, w.b_hh), 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_new = f * c + i * g
    m = o * np.tanh(c_new)
    h_new = m if w.w_hr is None else m @ w.w_hr.T
    return (h_new, c_new), (i, f, g, o, c_new)


def _lstm_cell_backward(
    w: Weights, state: Arrays, kept: Arrays, dnew: Arrays
) -> tuple[Array, Arrays, dict[str, Array]]:
    (h, c), (i, f, g, o, c_new), (dh_new, dc_new) = state, kept, dnew
    tanh_c = np.tanh(c_new)
    dm = dh_new if w.w_hr is None else dh_new @ w.w_hr
    dc_new = dc_new + dm * o * (1 - tanh_c**2)
    di = dc_new * g * i * (1 - i)
    df = dc_new * c * f * (1 - f)
    dg = dc_new * i * (1 - g**2)
    do = dm * tanh_c * o * (1 - o)
    da = np.concatenate([di, df, dg, do], axis=1)
    grads = {"w_hh": da.T @ h, "b_hh": da.sum(axis=0), "w_hr": dh_new.T @ (o * tanh_c)}
    return da, (da @ w.w_hh, dc_new * f), grads


LSTM = Cell("lstm", 4, _lstm_cell, _lstm_cell_backward)


# --- GRU: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014).
#
#     r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
#     z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
#     n  = tanh(W_in x + b_in + W_hn (r * h) + b_hn)          reset_after=False: the paper's form
#     n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))          reset_after=True: PyTorch's form
#     h' = (1 - z) * n + z * h
#
# The second needs one product with h instead of two, one after the other.


def _gru_cell(w: Weights, a: Array, state: Arrays, *, reset_after: bool) -> tuple[Arrays, Arrays]:
    (h,), H = state, w.w_hh.shape[1]
    w_rz, w_n = w.w_hh[: 2 * H], w.w_hh[2 * H :]
    b_rz, b_n = (None, None) if w.b_hh is None else (w.b_hh[: 2 * H], w.b_hh[2 * H :])
    r, z = np.split(sigmoid(a[:, : 2 * H] + affine(h, w_rz, b_rz)), 2, axis=1)
    u = affine(h if reset_after else r * h, w_n, b_n)
    n = np.tanh(a[:, 2 * H :] + (r * u if reset_after else u))
    return ((1 - z) * n + z * h,), (r, z, n, u)


def _gru_cell_backward(
    w: Weights, state: Arrays, kept: Arrays, dnew: Arrays, *, reset_after: bool
) -> tuple[Array, Arrays, dict[str, Array]]:
    (h,), (r, z, n, u), (dh_new,), H = state, kept, dnew, w.w_hh.shape[1]
    dn = dh_new * (1 - z) * (1 - n**2)  # at what stands inside tanh
    du = dn * r if reset_after else dn
    dv = du @ w.w_hh[2 * H :]  # at what W_hn is multiplied with: h or r * h
    dr = (dn * u if reset_after else dv * h) * r * (1 - r)
    dz = dh_new * (h - n) * z * (1 - z)
    drz = np.concatenate([dr, dz], axis=1)
    dh = dh_new * z + drz @ w.w_hh[: 2 * H] + (dv if reset_after else dv * r)
    dw_hh = np.concatenate([drz.T @ h, du.T @ (h if reset_after else r * h)])
    db_hh = np.concatenate([drz, du], axis=1).sum(axis=0)
    return np.concatenate([drz, dn], axis=1), (dh,), {"w_hh": dw_hh, "b_hh": db_hh}


GRU = {
    after: Cell(
        "gru",
        3,
        partial(_gru_cell, reset_after=after),
        partial(_gru_cell_backward, reset_after=after),
    )
    for after in (True, False)
}
