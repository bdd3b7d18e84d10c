"""The simple recurrent network: forward, backward and one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from recurra import _core
from recurra.functional.options import rnn_cell
from recurra.results import RNNGradients, RNNOutput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from recurra.functional.options import Memory


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
    cell = rnn_cell("rnn_forward", activation)
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
    cell = rnn_cell("rnn_step", activation)
    h, _ = _core.step(cell, x, w_ih, w_hh, b_ih, b_hh, None, h0, None)
    return h
