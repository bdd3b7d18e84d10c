"""The gated recurrent unit in its two forms: forward, backward and one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recurra import _core
from recurra.functional.options import gru_cell
from recurra.results import GRUGradients, GRUOutput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from recurra.functional.options import Memory


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
    cell = gru_cell("gru_forward", reset_after)
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
    cell = gru_cell("gru_step", reset_after)
    h, _ = _core.step(cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None)
    return h
