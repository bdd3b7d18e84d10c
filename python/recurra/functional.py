"""The NumPy functions: one layer, one direction, arrays in and arrays out.

Shapes: `B` batch rows, `T` time steps, `I` input features, `H` hidden units, `G` gates (RNN 1,
GRU 3, LSTM 4), `P` projection. Sequences are batch first. Parameters have PyTorch's shapes and
gate order (LSTM `i f g o`, GRU `r z n`). All arrays of a call share one dtype, float32 or float64.

Every result has the same bits whatever the batch, padding, number of threads and instruction set;
running a sequence step by step gives the bits of the whole. `recurra.reference` holds the same
functions in plain NumPy.

What forward keeps for backward grows with the length of the sequences. `memory="keep"` keeps the
inputs, states and gates of every step: for an LSTM `I + 6*H` numbers a row and step, for a GRU
`I + 5*H`, for an RNN `I + H`. `memory="low"` keeps the `I` inputs and, every eighth step or less
often, the state; backward then runs the steps in between again, some at a time. It costs about the
time of a second forward call, a fifth to a third of a training step (more in a batch of one row),
and changes no bit of any gradient. `saved.nbytes` says what is kept. Without `save` there is
nothing to keep little of: `memory="low"` is refused then.

Sequences that are too long even for that, or never end, are trained on in windows: each call gets
the last state of the one before and ends its gradient there (truncated backpropagation through
time, Williams and Peng 1990).

>>> import numpy as np
>>> from recurra.functional import lstm_backward, lstm_forward
>>> x, w_ih, w_hh = np.ones((2, 1000, 3)), np.full((16, 3), 0.1), np.full((16, 4), 0.1)
>>> state, dw_hh = {}, np.zeros_like(w_hh)
>>> for window in np.split(x, 10, axis=1):
...     y, h_n, c_n, saved = lstm_forward(window, w_ih, w_hh, **state, memory="low")
...     dw_hh += lstm_backward(saved, dy=np.ones_like(y)).dw_hh  # or a step of an optimizer
...     state = {"h0": h_n, "c0": c_n}

Every function raises `ValueError` for a shape, length or option that does not fit, `TypeError` for
a dtype or object that does not, and `MemoryError` where there is no memory for a result, before any
work is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from recurra import _core
from recurra.results import (
    GRUGradients,
    GRUOutput,
    LSTMGradients,
    LSTMOutput,
    LSTMProjectedGradients,
    LSTMState,
    RNNGradients,
    RNNOutput,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

__all__ = [
    "gru_backward",
    "gru_forward",
    "gru_step",
    "lstm_backward",
    "lstm_forward",
    "lstm_step",
    "pack",
    "rnn_backward",
    "rnn_forward",
    "rnn_step",
]

Memory = Literal["keep", "low"]
Cell = Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before"]


def rnn_forward(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    save: bool = True,
    memory: Memory = "keep",
    n_threads: int | None = None,
) -> RNNOutput:
    """Simple recurrent network (Elman 1990): `h' = act(W_ih x + b_ih + W_hh h + b_hh)`.

    Args:
        x (B, T, I): inputs; any strides.
        w_ih (H, I): input weights.
        w_hh (H, H): recurrent weights.
        b_ih (H,): input bias; none where absent.
        b_hh (H,): recurrent bias; none where absent.
        h0 (B, H): initial state; zero where absent.
        activation: `"tanh"` or `"relu"`.
        lengths (B,): steps of each row, integers from 0 to T in any order; all T where absent.
        reverse: run each row from its last step to its first; `y` stays in time order.
        save: keep what `rnn_backward` needs; without it nothing is kept nor allocated for it.
        memory: `"low"` keeps little and computes the rest again: see the module's text.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `RNNOutput`: `y` (B, T, H), zero past a row's length; `h_n` (B, H), the state at the
        length; `saved`, opaque, `None` without `save`.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import rnn_forward
        >>> y, h_n, _ = rnn_forward(np.ones((1, 2, 1)), [[0.5]], [[0.0]], save=False)
        >>> y.round(4).tolist()
        [[[0.4621], [0.4621]]]
    """
    cell = _rnn_cell("rnn_forward", activation)
    y, h_n, _, saved = _core.forward(
        cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None, lengths, reverse, save, memory, n_threads
    )
    return RNNOutput(y, h_n, saved)


def rnn_backward(
    saved: object,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    *,
    input_gradient: bool = True,
    n_threads: int | None = None,
) -> RNNGradients:
    """Backpropagation through time (Werbos 1990) for `rnn_forward`.

    Args:
        saved: what `rnn_forward` returned; it stays valid for further calls.
        dy (B, T, H): gradient of `y`; zero where absent, not read past a row's length.
        dh_n (B, H): gradient of `h_n`; zero where absent.
        input_gradient: compute `dx`; without it `dx` is `None` and its product is saved.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `RNNGradients` of `sum(dy * y) + sum(dh_n * h_n)`: `dx` (B, T, I), `dw_ih` (H, I),
        `dw_hh` (H, H), `db_ih` and `db_hh` (H,) (`None` where there was no such bias),
        `dh0` (B, H).

    Example:
        >>> import numpy as np
        >>> from recurra.functional import rnn_backward, rnn_forward
        >>> out = rnn_forward(np.zeros((1, 1, 1)), [[2.0]], [[0.0]])
        >>> rnn_backward(out.saved, dy=np.ones((1, 1, 1))).dx.tolist()
        [[[2.0]]]
    """
    dx, dw_ih, dw_hh, db_ih, db_hh, _, dh0, _ = _core.backward(
        "rnn_backward", saved, dy, dh_n, None, input_gradient, n_threads
    )
    return RNNGradients(dx, dw_ih, dw_hh, db_ih, db_hh, dh0)


def rnn_step(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: Literal["tanh", "relu"] = "tanh",
) -> np.ndarray:
    """One time step of `rnn_forward`: `x` (B, I) and `h0` (B, H) to the new `h` (B, H).

    The weights are packed anew for every call; `pack` does it once for many.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import rnn_step
        >>> rnn_step(np.ones((1, 1)), [[0.5]], [[0.0]]).round(4).tolist()
        [[0.4621]]
    """
    cell = _rnn_cell("rnn_step", activation)
    h, _ = _core.step(cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None)
    return h


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
    memory: Memory = "keep",
    n_threads: int | None = None,
) -> LSTMOutput:
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, `c' = f c + i g`, `h' = o tanh(c')`. With `w_hr`,
    `h' = w_hr (o tanh(c'))` (Sak et al. 2014), and `P` takes the place of `H` in `y`, `h0`, `h_n`.

    Args:
        x (B, T, I): inputs; any strides.
        w_ih (4*H, I): input weights, gates `i f g o`.
        w_hh (4*H, H): recurrent weights; (4*H, P) with `w_hr`.
        b_ih (4*H,): input bias; none where absent.
        b_hh (4*H,): recurrent bias; none where absent.
        h0 (B, H): initial state; zero where absent.
        c0 (B, H): initial cell state; zero where absent.
        w_hr (P, H): recurrent projection.
        lengths (B,): steps of each row, integers from 0 to T in any order; all T where absent.
        reverse: run each row from its last step to its first; `y` stays in time order.
        save: keep what `lstm_backward` needs; without it nothing is kept nor allocated for it.
        memory: `"low"` keeps little and computes the rest again: see the module's text.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `LSTMOutput`: `y` (B, T, H), zero past a row's length; `h_n` (B, H) and `c_n` (B, H), the
        states at the length; `saved`, opaque, `None` without `save`.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import lstm_forward
        >>> w = np.full((4, 1), 0.5)
        >>> y, h_n, c_n, _ = lstm_forward(np.ones((2, 3, 1)), w, w, lengths=[3, 0], save=False)
        >>> y.shape, h_n[1].tolist(), bool((h_n[0] == y[0, 2]).all())
        ((2, 3, 1), [0.0], True)
    """
    y, h_n, c_n, saved = _core.forward(
        "lstm", x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0, lengths, reverse, save, memory, n_threads
    )
    assert c_n is not None
    return LSTMOutput(y, h_n, c_n, saved)


def lstm_backward(
    saved: object,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    dc_n: ArrayLike | None = None,
    *,
    input_gradient: bool = True,
    n_threads: int | None = None,
) -> LSTMGradients | LSTMProjectedGradients:
    """Backpropagation through time (Werbos 1990) for `lstm_forward`.

    Args:
        saved: what `lstm_forward` returned; it stays valid for further calls.
        dy (B, T, H): gradient of `y`; zero where absent, not read past a row's length.
        dh_n (B, H): gradient of `h_n`; zero where absent.
        dc_n (B, H): gradient of `c_n`; zero where absent.
        input_gradient: compute `dx`; without it `dx` is `None` and its product is saved.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `LSTMGradients` of `sum(dy * y) + sum(dh_n * h_n) + sum(dc_n * c_n)`: `dx` (B, T, I),
        `dw_ih` (4*H, I), `dw_hh` (4*H, H), `db_ih` and `db_hh` (4*H,) (`None` where there was no
        such bias), `dh0` (B, H), `dc0` (B, H). For a projected LSTM `LSTMProjectedGradients`,
        with `dw_hr` (P, H) as one more field.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import lstm_backward, lstm_forward
        >>> w = np.full((4, 1), 0.5)
        >>> out = lstm_forward(np.ones((1, 3, 1)), w, w)
        >>> lstm_backward(out.saved, dy=np.ones((1, 3, 1))).dw_ih.shape
        (4, 1)
    """
    dx, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dh0, dc0 = _core.backward(
        "lstm_backward", saved, dy, dh_n, dc_n, input_gradient, n_threads
    )
    assert dc0 is not None
    if dw_hr is not None:
        return LSTMProjectedGradients(dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0, dw_hr)
    return LSTMGradients(dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0)


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
    """One time step of `lstm_forward`: `x` (B, I), `h0` and `c0` (B, H) to the new `(h, c)`.

    The weights are packed anew for every call; `pack` does it once for many.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import lstm_step
        >>> w = np.full((4, 1), 0.5)
        >>> h, c = lstm_step(np.ones((1, 1)), w, w)
        >>> h, c = lstm_step(np.ones((1, 1)), w, w, h0=h, c0=c)
        >>> c.round(4).tolist()
        [[0.5241]]
    """
    h, c = _core.step("lstm", x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0)
    assert c is not None
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
    memory: Memory = "keep",
    n_threads: int | None = None,
) -> GRUOutput:
    """Gated recurrent unit (Cho et al. 2014).

    `r, z = sigmoid(...)`, `h' = (1 - z) n + z h`, and with `reset_after` (PyTorch, cuDNN, Keras'
    default) `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`, without it (the paper, ONNX' default)
    `n = tanh(W_in x + b_in + W_hn (r h) + b_hn)`.

    Args:
        x (B, T, I): inputs; any strides.
        w_ih (3*H, I): input weights, gates `r z n`.
        w_hh (3*H, H): recurrent weights.
        b_ih (3*H,): input bias; none where absent.
        b_hh (3*H,): recurrent bias; none where absent.
        h0 (B, H): initial state; zero where absent.
        reset_after: where the reset gate acts.
        lengths (B,): steps of each row, integers from 0 to T in any order; all T where absent.
        reverse: run each row from its last step to its first; `y` stays in time order.
        save: keep what `gru_backward` needs; without it nothing is kept nor allocated for it.
        memory: `"low"` keeps little and computes the rest again: see the module's text.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `GRUOutput`: `y` (B, T, H), zero past a row's length; `h_n` (B, H), the state at the
        length; `saved`, opaque, `None` without `save`.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import gru_forward
        >>> w = np.full((3, 1), 0.5)
        >>> gru_forward(np.ones((1, 1, 1)), w, w, save=False).y.round(4).tolist()
        [[[0.1745]]]
    """
    cell = _gru_cell("gru_forward", reset_after)
    y, h_n, _, saved = _core.forward(
        cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None, lengths, reverse, save, memory, n_threads
    )
    return GRUOutput(y, h_n, saved)


def gru_backward(
    saved: object,
    dy: ArrayLike | None = None,
    dh_n: ArrayLike | None = None,
    *,
    input_gradient: bool = True,
    n_threads: int | None = None,
) -> GRUGradients:
    """Backpropagation through time (Werbos 1990) for `gru_forward`, either form.

    Args:
        saved: what `gru_forward` returned; it stays valid for further calls.
        dy (B, T, H): gradient of `y`; zero where absent, not read past a row's length.
        dh_n (B, H): gradient of `h_n`; zero where absent.
        input_gradient: compute `dx`; without it `dx` is `None` and its product is saved.
        n_threads: threads for this call; `recurra.get_num_threads()` where absent.

    Returns:
        `GRUGradients` of `sum(dy * y) + sum(dh_n * h_n)`: `dx` (B, T, I), `dw_ih` (3*H, I),
        `dw_hh` (3*H, H), `db_ih` and `db_hh` (3*H,) (`None` where there was no such bias),
        `dh0` (B, H).

    Example:
        >>> import numpy as np
        >>> from recurra.functional import gru_backward, gru_forward
        >>> w = np.full((3, 1), 0.5)
        >>> out = gru_forward(np.ones((1, 2, 1)), w, w)
        >>> gru_backward(out.saved, dh_n=np.ones((1, 1))).dh0.shape
        (1, 1)
    """
    dx, dw_ih, dw_hh, db_ih, db_hh, _, dh0, _ = _core.backward(
        "gru_backward", saved, dy, dh_n, None, input_gradient, n_threads
    )
    return GRUGradients(dx, dw_ih, dw_hh, db_ih, db_hh, dh0)


def gru_step(
    x: ArrayLike,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    reset_after: bool = True,
) -> np.ndarray:
    """One time step of `gru_forward`: `x` (B, I) and `h0` (B, H) to the new `h` (B, H).

    The weights are packed anew for every call; `pack` does it once for many.

    Example:
        >>> import numpy as np
        >>> from recurra.functional import gru_step
        >>> w = np.full((3, 1), 0.5)
        >>> gru_step(np.ones((1, 1)), w, w).round(4).tolist()
        [[0.1745]]
    """
    cell = _gru_cell("gru_step", reset_after)
    h, _ = _core.step(cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None)
    return h


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
    shared by threads. `weights.step(x, h, c)` takes `x` (B, I) and returns `(h, c)`, with `c`
    `None` but for the LSTM; `weights.forward(x, h0, c0, lengths=..., reverse=..., save=...,
    memory=...)` returns `(y, h_n, c_n, saved)`.

    Args:
        cell: `"rnn_tanh"`, `"rnn_relu"`, `"lstm"`, `"gru"` (reset after) or `"gru_before"`.
        w_ih (G*H, I): input weights.
        w_hh (G*H, H): recurrent weights.
        b_ih (G*H,): input bias.
        b_hh (G*H,): recurrent bias.
        w_hr (P, H): recurrent projection, LSTM only.
        training: pack what `save=True` needs as well.

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
    """
    return _core.Weights(cell, w_ih, w_hh, b_ih, b_hh, w_hr, training)


def _rnn_cell(operation: str, activation: str) -> Cell:
    if activation == "tanh":
        return "rnn_tanh"
    if activation == "relu":
        return "rnn_relu"
    raise ValueError(f"{operation}: activation: expected 'tanh' or 'relu', got {activation!r}")


def _gru_cell(operation: str, reset_after: object) -> Cell:
    if not isinstance(reset_after, bool):
        got = type(reset_after).__name__
        raise TypeError(f"{operation}: reset_after: expected True or False, got {got}")
    return "gru" if reset_after else "gru_before"
