"""Weights packed once for many calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recurra import _core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from recurra.functional.options import Cell


def pack(
    cell: Cell,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    *,
    w_hr: ArrayLike | None = None,
    training: bool = False,
) -> _core.Weights:
    """Pack the weights of one layer and direction once, for many calls.

    The result is an immutable snapshot: later changes of the arrays do not reach it. It can be
    shared by threads. It has two methods:

    `weights.step(x, h0, c0)` takes `x` (B, I) and returns `(h, c)`.

    `weights.forward(x, h0, c0, lengths=..., reverse=..., save=False, memory="keep",
    n_threads=...)` takes `x` (B, T, I) and returns `(y, h_n, c_n, saved)`. Unlike `lstm_forward`
    it saves nothing unless told to; `save=True` needs `training=True` here.

    `c` and `c_n` are `None`, and `c0` is refused, but for the LSTM.

    Args:
        cell: `"rnn_tanh"`, `"rnn_relu"`, `"lstm"`, `"gru"` (reset after) or `"gru_before"`.
        w_ih (G*H, I): input weights.
        w_hh (G*H, H): recurrent weights.
        b_ih (G*H,): input bias.
        b_hh (G*H,): recurrent bias.
        w_hr (P, H): recurrent projection, LSTM only.
        training: pack what backward needs as well, for `save=True`.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import pack
        >>> w = np.full((4, 1), 0.5)
        >>> weights = pack("lstm", w, w)
        >>> h = c = np.zeros((1, 1))
        >>> for _ in range(2):
        ...     h, c = weights.step(np.ones((1, 1)), h, c)
        >>> c.round(4).tolist()
        [[0.5241]]
        >>> from recurra.functional import lstm_backward  # a training call
        >>> weights = pack("lstm", w, w, training=True)
        >>> y, h_n, c_n, saved = weights.forward(np.ones((1, 2, 1)), save=True)
        >>> lstm_backward(saved, dy=np.ones_like(y)).dw_ih.shape
        (4, 1)
    """
    return _core.Weights(cell, w_ih, w_hh, b_ih, b_hh, w_hr, training)
