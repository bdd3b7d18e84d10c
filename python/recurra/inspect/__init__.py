"""Looking inside a recurrent model: the numbers that `recurra.plots` draws.

    watch             every call of every recurrent layer inside a `with` block
    activations       gates and states over a sequence
    gradient_norms    how large the loss's gradient is at the state of every step
    eigenvalues, spectral_radius    of the recurrent matrices, gate by gate
    saliency          how much each input matters to a number that the model puts out

Nothing here changes a model or a gradient: parameters keep their values and their `grad`. A layer
and direction has the name of its parameters: `rnn.l0_reverse` owns `rnn.weight_hh_l0_reverse`.
Letters: `B` batch rows, `T` time steps, `I` input features, `H` hidden units, `P` features that a
projected LSTM puts out (elsewhere P is H).

>>> import numpy as np
>>> import recurra
>>> recurra.manual_seed(0)
>>> model = recurra.Sequential(recurra.GRU(1, 8), recurra.Linear(8, 1))
>>> x = np.ones((4, 30, 1), np.float32)
>>> norms = recurra.inspect.gradient_norms(model, lambda: model(x)[:, -1].sum())
>>> norms["0.l0"].shape, bool(norms["0.l0"][0] < norms["0.l0"][-1])  # it vanishes
((30,), True)
"""

from recurra.inspect.calls import Call as Call
from recurra.inspect.calls import activations as activations
from recurra.inspect.calls import gradient_norms as gradient_norms
from recurra.inspect.calls import watch as watch
from recurra.inspect.gates import Activations as Activations
from recurra.inspect.inputs import Saliency as Saliency
from recurra.inspect.inputs import saliency as saliency
from recurra.inspect.spectrum import eigenvalues as eigenvalues
from recurra.inspect.spectrum import spectral_radius as spectral_radius
from recurra.inspect.through_time import StateGradients as StateGradients
