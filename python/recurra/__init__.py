"""recurra: recurrent neural networks on CPUs, NumPy in and NumPy out.

`recurra.functional` has the fast functions, `recurra.reference` the same in readable NumPy. On top
stand tensors with gradients (`autograd`, `ops`), layers, losses, optimizers and seeds. `inspect`
looks inside a model, and `plots` draws what it finds.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from recurra import _core
from recurra import functional as functional
from recurra import losses as losses
from recurra import ops as ops
from recurra import random as random
from recurra import reference as reference
from recurra import schedules as schedules
from recurra.autograd import Tensor as Tensor
from recurra.autograd import no_grad as no_grad
from recurra.averaging import EMA as EMA
from recurra.averaging import SWA as SWA
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
from recurra.layers import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from recurra.layers import AdditiveAttention as AdditiveAttention
from recurra.layers import AvgPool1d as AvgPool1d
from recurra.layers import BatchNorm as BatchNorm
from recurra.layers import Conv1d as Conv1d
from recurra.layers import Dropout as Dropout
from recurra.layers import Embedding as Embedding
from recurra.layers import GlobalPool1d as GlobalPool1d
from recurra.layers import LayerNorm as LayerNorm
from recurra.layers import Linear as Linear
from recurra.layers import LuongAttention as LuongAttention
from recurra.layers import MaxPool1d as MaxPool1d
from recurra.layers import MultiheadAttention as MultiheadAttention
from recurra.layers import VariationalDropout as VariationalDropout
from recurra.layers import WordDropout as WordDropout
from recurra.losses import cross_entropy as cross_entropy
from recurra.losses import mse as mse
from recurra.module import Buffer as Buffer
from recurra.module import Module as Module
from recurra.module import Parameter as Parameter
from recurra.module import Sequential as Sequential
from recurra.optim import SGD as SGD
from recurra.optim import Adadelta as Adadelta
from recurra.optim import Adagrad as Adagrad
from recurra.optim import Adam as Adam
from recurra.optim import Adamax as Adamax
from recurra.optim import AdamW as AdamW
from recurra.optim import Lion as Lion
from recurra.optim import NAdam as NAdam
from recurra.optim import RAdam as RAdam
from recurra.optim import RMSprop as RMSprop
from recurra.optim import clip_grad_norm as clip_grad_norm
from recurra.optim import clip_grad_value as clip_grad_value
from recurra.random import manual_seed as manual_seed
from recurra.recurrent import GRU as GRU
from recurra.recurrent import LSTM as LSTM
from recurra.recurrent import RNN as RNN

if TYPE_CHECKING:
    from recurra import data as data
    from recurra import inspect as inspect
    from recurra import metrics as metrics
    from recurra import plots as plots
    from recurra import train as train

__version__: str = _core.version()

# Imported when they are first used: `import recurra` stays quick for who only serves a model.
LAZY = ("data", "inspect", "metrics", "plots", "train")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        if name in LAZY:
            return importlib.import_module(f"recurra.{name}")
        raise AttributeError(f"module 'recurra' has no attribute {name!r}")
