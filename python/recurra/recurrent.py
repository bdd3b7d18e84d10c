"""Recurrent layers: stacks of RNN, LSTM or GRU cells in one or both directions.

Arguments, parameter names, shapes, gate orders and initial values are PyTorch's, so that its
weights load unpermuted; sequences are always batch first. Letters: `B` batch rows, `T` time
steps, `I` = `input_size`, `H` = `hidden_size`, `L` = `num_layers`, `D` directions, `G` gates (RNN
1, GRU 3, LSTM 4), `P` = `proj_size`.

All three are called as `y, state = layer(x, state=None, lengths=None)`:

    x        (B, T, I)     a tensor or an array of the layer's dtype
    state    (L*D, B, H)   before the first step (for LSTM a pair h, c); None is zeros
    lengths  (B,)          integers from 0 to T in any order: what lies behind is not looked at
    y        (B, T, D*H)   exactly 0 past a length
    state    (L*D, B, H)   after the last valid step

Gradients flow into x, the state and the parameters. Each layer and direction is one fused node,
computed by the core. With `lengths`, the reverse direction begins at each row's last valid step.

Parameters, for layer k and with `_reverse` appended for the second direction:

    weight_ih_l{k} (G*H, I)   input weights; I is D*H from the second layer on
    weight_hh_l{k} (G*H, H)   recurrent weights
    bias_ih_l{k}, bias_hh_l{k} (G*H,)   not with bias=False
    weight_hr_l{k} (P, H)     projection, of an LSTM with proj_size

`bidirectional=True` reads each row a second time, from its last step to its first, with parameters
of its own: D is 2, and the features of `y` are those of the forward direction, then those of the
reverse. `dropout` in [0, 1) is the part of `y`'s elements that is dropped between two layers while
the module is in training mode; the others grow by 1 / (1 - dropout). With one layer it is refused.
`batch_first` can only be True.

`memory="low"` keeps less for backward and computes it again, for the same gradients, provided that
the inputs do not change in between: see `recurra.functional`. It says nothing about calls without
gradients, which keep nothing. Sequences too long even for that are trained on in windows: call with
the state of the window before, `detach()`ed, which ends the gradient there.

All start evenly spread within 1 / sqrt(H), from `recurra.random`.
"""

from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks, functional
from recurra._recurrent import Cell, Recurrent
from recurra.functional.options import gru_cell, rnn_cell

__all__ = ["GRU", "LSTM", "RNN"]


class RNN(Recurrent):
    """The simple recurrent network (Elman, Finding Structure in Time, 1990).

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)

    `nonlinearity` is "tanh" or "relu". The other arguments and the call are described in the
    module's text.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.RNN(3, 8, nonlinearity="relu")
    >>> y, h = layer(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 5, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        batch_first: bool = True,
        dtype: DTypeLike = np.float32,
        memory: str = "keep",
    ) -> None:
        self.nonlinearity = checks.one_of("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        name = rnn_cell("RNN", nonlinearity)
        cell = Cell(
            name=name,
            gates=1,
            states=1,
            forward=functional.rnn_forward,
            backward=functional.rnn_backward,
            step=functional.rnn_step,
            pack=partial(functional.pack, name),
            options={"activation": nonlinearity},
        )
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dtype=dtype,
            memory=memory,
        )


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

        i, f, o = sigmoid(W_ih x + b_ih + W_hh h + b_hh)     rows of gates i, f, o
        g       = tanh(W_ih x + b_ih + W_hh h + b_hh)        rows of gate g
        c'      = f c + i g
        h'      = o tanh(c')

    The state is a pair `(h, c)`. `proj_size` = P > 0 puts out W_hr h' with P features instead
    (Sak et al. 2014): y is then (B, T, D*P) and h (L*D, B, P). The other arguments and the call
    are described in the module's text.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.LSTM(3, 8, num_layers=2, bidirectional=True)
    >>> y, (h, c) = layer(np.ones((2, 5, 3), np.float32), lengths=[5, 2])
    >>> y.shape, h.shape, c.shape
    ((2, 5, 16), (4, 2, 8), (4, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        batch_first: bool = True,
        dtype: DTypeLike = np.float32,
        memory: str = "keep",
    ) -> None:
        cell = Cell(
            name="lstm",
            gates=4,
            states=2,
            forward=functional.lstm_forward,
            backward=functional.lstm_backward,
            step=functional.lstm_step,
            pack=partial(functional.pack, "lstm"),
            options={},
        )
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            batch_first=batch_first,
            dtype=dtype,
            memory=memory,
        )


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

        r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh)         rows of gates r, z
        n    = tanh(W_in x + b_in + r (W_hn h + b_hn))        reset_after=True
        n    = tanh(W_in x + b_in + W_hn (r h) + b_hn)        reset_after=False
        h'   = (1 - z) n + z h

    `reset_after=True` is the form of PyTorch, cuDNN and Keras, `False` the one of the paper and
    of ONNX by default. The other arguments and the call are described in the module's text.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.GRU(3, 8)
    >>> y, h = layer(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 5, 8), (1, 2, 8))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        batch_first: bool = True,
        dtype: DTypeLike = np.float32,
        memory: str = "keep",
    ) -> None:
        self.reset_after = checks.flag("GRU", "reset_after", reset_after)
        name = gru_cell("GRU", self.reset_after)
        cell = Cell(
            name=name,
            gates=3,
            states=1,
            forward=functional.gru_forward,
            backward=functional.gru_backward,
            step=functional.gru_step,
            pack=partial(functional.pack, name),
            options={"reset_after": self.reset_after},
        )
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dtype=dtype,
            memory=memory,
        )
