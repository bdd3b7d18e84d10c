"""Long short-term memory: forward, backward and one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recurra import _core
from recurra.results import LSTMGradients, LSTMOutput, LSTMProjectedGradients, LSTMState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from recurra.functional.options import Memory


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
