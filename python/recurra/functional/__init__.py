"""The NumPy functions: one layer, one direction, arrays in and arrays out.

Shapes: `B` batch rows, `T` time steps, `I` input features, `H` hidden units, `G` gates (RNN 1,
GRU 3, LSTM 4), `P` projection. Sequences are batch first. Parameters have PyTorch's shapes and
gate order (LSTM `i f g o`, GRU `r z n`). All arrays of a call share one dtype, float32 or float64.

Every result has the same bits whatever the batch, padding, number of threads and instruction set;
running a sequence step by step gives the bits of the whole. `recurra.reference` holds the same
functions in plain NumPy.

What forward keeps for backward grows with the length of the sequences. `memory="keep"` keeps the
inputs, states and gates of every step: for an LSTM `I + 6*H` numbers a row and step, for a GRU
`I + 5*H`, for an RNN `I + H`. `memory="low"` keeps the state of every eighth step or less often and
holds on to the array `x` itself, of which it makes no copy. Backward then runs the steps in between
again, some at a time. A training step takes about a quarter to a third longer, with 2 to 8 rows up
to 1.7 times as long, and no bit of any gradient changes. `x` must not change meanwhile: backward
compares checksums and refuses it if it did. `saved.nbytes` says what is kept, without that `x`.
Without `save` there is nothing to keep little of: `memory="low"` is refused then.

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

from recurra.functional.gru import gru_backward as gru_backward
from recurra.functional.gru import gru_forward as gru_forward
from recurra.functional.gru import gru_step as gru_step
from recurra.functional.lstm import lstm_backward as lstm_backward
from recurra.functional.lstm import lstm_forward as lstm_forward
from recurra.functional.lstm import lstm_step as lstm_step
from recurra.functional.options import Cell as Cell
from recurra.functional.options import Memory as Memory
from recurra.functional.packing import pack as pack
from recurra.functional.rnn import rnn_backward as rnn_backward
from recurra.functional.rnn import rnn_forward as rnn_forward
from recurra.functional.rnn import rnn_step as rnn_step

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
