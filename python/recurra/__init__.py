"""recurra: recurrent neural networks on CPUs, NumPy in and NumPy out.

`recurra.functional` has the fast functions, `recurra.reference` the same in readable NumPy. On top
stand tensors with gradients (`autograd`, `ops`), layers, losses, optimizers and seeds.
"""

from recurra import _core
from recurra import functional as functional
from recurra import ops as ops
from recurra import random as random
from recurra import reference as reference
from recurra.autograd import Tensor as Tensor
from recurra.autograd import no_grad as no_grad
from recurra.config import get_num_threads as get_num_threads
from recurra.config import num_threads as num_threads
from recurra.config import set_num_threads as set_num_threads
from recurra.config import show_config as show_config
from recurra.crf import CRF as CRF
from recurra.crf import crf_decode as crf_decode
from recurra.crf import crf_loss as crf_loss
from recurra.crf import crf_marginals as crf_marginals
from recurra.ctc import ctc_beam_decode as ctc_beam_decode
from recurra.ctc import ctc_greedy_decode as ctc_greedy_decode
from recurra.ctc import ctc_loss as ctc_loss
from recurra.layers import Dropout as Dropout
from recurra.layers import Embedding as Embedding
from recurra.layers import Linear as Linear
from recurra.losses import cross_entropy as cross_entropy
from recurra.losses import mse as mse
from recurra.module import Module as Module
from recurra.module import Parameter as Parameter
from recurra.module import Sequential as Sequential
from recurra.optim import SGD as SGD
from recurra.optim import Adam as Adam
from recurra.optim import AdamW as AdamW
from recurra.optim import clip_grad_norm as clip_grad_norm
from recurra.random import manual_seed as manual_seed
from recurra.recurrent import GRU as GRU
from recurra.recurrent import LSTM as LSTM
from recurra.recurrent import RNN as RNN

__version__: str = _core.version()
