"""Layers without a state: embedding, linear map, dropout.

`Embedding` and `Linear` are one fused node each, computed by the core.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks, random
from recurra.autograd import Operand, Tensor, as_tensor, fused_node, node
from recurra.module import Module, Parameter
from recurra.results import Array

__all__ = ["Dropout", "Embedding", "Linear", "dropout", "embedding", "linear"]


class Embedding(Module):
    """A table of vectors, looked up by integers: ids (...) to (..., E).

    `weight` (V, E) has V = `num_embeddings` rows of length E = `embedding_dim`, initially normal
    with mean 0 and standard deviation 1.

    >>> import numpy as np
    >>> import recurra
    >>> recurra.Embedding(10, 4)(np.array([[1, 2, 3], [9, 9, 0]])).shape
    (2, 3, 4)
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, dtype: DTypeLike = np.float32
    ) -> None:
        self.num_embeddings = checks.size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = checks.size("Embedding", "embedding_dim", embedding_dim)
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight = Parameter(random.normal(shape, dtype=checks.float_dtype("Embedding", dtype)))

    def forward(self, ids: object) -> Tensor:
        """The rows of `weight` at `ids`: integers of any shape, from 0 to V-1."""
        return embedding(ids, self.weight)

    def describe(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Linear(Module):
    """y = x W^T + b over the last axis: (..., I) to (..., O).

    `weight` (O, I) and `bias` (O,), which is None with `bias=False`, start evenly spread within
    1 / sqrt(I), as PyTorch's do.

    >>> import numpy as np
    >>> import recurra
    >>> recurra.Linear(4, 2)(np.ones((3, 5, 4), np.float32)).shape
    (3, 5, 2)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.in_features = checks.size("Linear", "in_features", in_features)
        self.out_features = checks.size("Linear", "out_features", out_features)
        kind = checks.float_dtype("Linear", dtype)
        bound = 1 / math.sqrt(self.in_features)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(random.uniform(shape, -bound, bound, kind))
        self.bias = Parameter(random.uniform(shape[0], -bound, bound, kind)) if bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        """x (..., I), a tensor or an array of the layer's dtype, to (..., O)."""
        return linear(x, self.weight, self.bias)

    def describe(self) -> str:
        no_bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{no_bias}"


class Dropout(Module):
    """While training, set each element to 0 with probability `p` and divide the rest by 1 - p.

    After `eval()` it returns its input.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.Dropout(0.5)
    >>> sorted(set(layer(np.ones(100, np.float32)).data.tolist()))
    [0.0, 2.0]
    >>> layer.eval()(np.ones(2, np.float32)).data
    array([1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.within("Dropout", "p", p, 0, 1)

    def forward(self, x: Tensor | Array) -> Tensor:
        x = as_tensor("Dropout", "x", x)
        return dropout(x, self.p) if self.training else x

    def describe(self) -> str:
        return f"{self.p:g}"


def embedding(ids: object, weight: Tensor) -> Tensor:
    """The rows of `weight` (V, E) at the integers `ids` (...): (..., E)."""
    rows, width = weight.shape
    index = checks.index_array("embedding", "ids", ids, rows)
    y = _core.embedding_forward(weight.data, index.ravel()).reshape(*index.shape, width)

    def backward(g: Array) -> Array:
        return _core.embedding_backward(g.reshape(index.size, width), index.ravel(), rows)

    return node("embedding", y, (weight, backward))


def linear(x: Operand, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times the transpose of `weight` (O, I), plus `bias` (O,): (..., O)."""
    x = as_tensor("linear", "x", x, weight.dtype)
    outputs, inputs = weight.shape
    if x.shape[-1:] != (inputs,):
        raise ValueError(f"linear: x: expected shape (..., I) = (..., {inputs}), got {x.shape}")
    rows, w = x.data.reshape(math.prod(x.shape[:-1]), inputs), weight.data
    y = _core.linear_forward(rows, w, None if bias is None else bias.data)

    def backward(g: Array) -> tuple[Array, ...]:
        dx, dw, db = _core.linear_backward(rows, w, g.reshape(-1, outputs))
        return (dx.reshape(x.shape), dw, db)[: len(parents)]

    parents = [parent for parent in (x, weight, bias) if parent is not None]
    return fused_node("linear", (y.reshape(*x.shape[:-1], outputs),), parents, backward)[0]


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each element 0 with probability `p`, else divided by 1 - p."""
    mask = random.dropout_mask(x.shape, p, x.dtype)
    return node("dropout", x.data * mask, (x, lambda g: g * mask))
