"""Layers without a state over time: what stands before, between and behind recurrent layers.

Sequences are batch first, x (B, T, C) with B batch rows, T time steps and C (or F) features. What
is pointwise (`Linear`, `LayerNorm`, `Embedding`, `Dropout`) takes any leading axes, (..., F), and
so does the same at every time step. Layers that look along the time or over the batch take
`lengths` (B,): integers from 0 to T in any order; what lies behind a length is not looked at, gets
a gradient of zero, and results there are zero.

`Embedding`, `Linear`, `LayerNorm`, `BatchNorm`, `Conv1d`, and the scores, softmax and weighted sums
of attention are the core's. Where sums are NumPy's, the layer says so.
"""

from recurra.layers.attention_layers import AdditiveAttention as AdditiveAttention
from recurra.layers.attention_layers import LuongAttention as LuongAttention
from recurra.layers.batch_normalization import BatchNorm as BatchNorm
from recurra.layers.convolution import Conv1d as Conv1d
from recurra.layers.dropouts import Dropout as Dropout
from recurra.layers.dropouts import VariationalDropout as VariationalDropout
from recurra.layers.dropouts import WordDropout as WordDropout
from recurra.layers.dropouts import dropout as dropout
from recurra.layers.embeddings import Embedding as Embedding
from recurra.layers.embeddings import embedding as embedding
from recurra.layers.layer_normalization import LayerNorm as LayerNorm
from recurra.layers.layer_normalization import layer_norm as layer_norm
from recurra.layers.linear_map import Linear as Linear
from recurra.layers.linear_map import linear as linear
from recurra.layers.multihead import MultiheadAttention as MultiheadAttention
from recurra.layers.multihead import scaled_dot_product_attention as scaled_dot_product_attention
from recurra.layers.pooling import AvgPool1d as AvgPool1d
from recurra.layers.pooling import MaxPool1d as MaxPool1d
from recurra.layers.row_pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from recurra.layers.row_pooling import GlobalPool1d as GlobalPool1d
