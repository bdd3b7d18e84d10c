"""Differentiable operations on tensors, each a short NumPy node.

They take tensors and, beside one, arrays of its dtype or Python numbers, and compute what the
NumPy function of that name computes. Operators, reductions and shapes are also on the tensor
(`x * y`, `x.sum()`, `x[0]`); everything else is called from here (`ops.tanh(x)`).

The heavy operations are not here but in the layers and losses, as fused nodes. Exponentials and
matrix products of this module are NumPy's: their last bits may differ between machines.
"""

from recurra.ops.arithmetic import add as add
from recurra.ops.arithmetic import div as div
from recurra.ops.arithmetic import matmul as matmul
from recurra.ops.arithmetic import mul as mul
from recurra.ops.arithmetic import neg as neg
from recurra.ops.arithmetic import pow as pow
from recurra.ops.arithmetic import sub as sub
from recurra.ops.elementwise import abs as abs
from recurra.ops.elementwise import clip as clip
from recurra.ops.elementwise import exp as exp
from recurra.ops.elementwise import log as log
from recurra.ops.elementwise import relu as relu
from recurra.ops.elementwise import sigmoid as sigmoid
from recurra.ops.elementwise import softplus as softplus
from recurra.ops.elementwise import sqrt as sqrt
from recurra.ops.elementwise import tanh as tanh
from recurra.ops.reductions import log_softmax as log_softmax
from recurra.ops.reductions import max as max
from recurra.ops.reductions import mean as mean
from recurra.ops.reductions import softmax as softmax
from recurra.ops.reductions import sum as sum
from recurra.ops.shaping import concatenate as concatenate
from recurra.ops.shaping import getitem as getitem
from recurra.ops.shaping import reshape as reshape
from recurra.ops.shaping import stack as stack
from recurra.ops.shaping import transpose as transpose
from recurra.ops.shaping import where as where
