"""Attention over the outputs of an encoder: additive and multiplicative scores.

A layer is called as
`context, weights = layer(query, key=None, value=None, lengths=None, mask=None)`:

    query    (B, Q, Cq)   what looks, such as the states of a decoder; (B, Cq) for one query a row
    key      (B, K, Ck)   what is looked at, such as the outputs of an encoder; None is the queries
    value    (B, K, Cv)   what is put together by the weights; None is the keys
    lengths  (B,)         integers from 0 to K: keys and values behind are not looked at
    mask     (B, Q, K)    booleans that broadcast to it, or to (B, K) for one query a row: where
                          False, query q does not look at key k
    context  (B, Q, Cv)   or (B, Cv); zeros for a query without any key
    weights  (B, Q, K)    or (B, K); the softmax of the scores over the valid keys

Gradients flow back from both results. Queries have no mask: what stands in their padding must be
finite, such as the zeros of a recurrent layer.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks, ops, random
from recurra.autograd import Tensor, as_tensor
from recurra.layers.attention import (
    additive_scores,
    attend,
    attention_mask,
    check_shapes,
    dot_scores,
    without_unseen,
)
from recurra.layers.linear_map import Linear, linear
from recurra.module import Module, Parameter
from recurra.results import Array


class Attention(Module):
    """What the layers share, which differ in `scores` alone."""

    query_size: int
    key_size: int
    dtype: np.dtype[np.floating]

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """query (B, Q, Cq) and key (B, K, Ck) to (B, Q, K)."""
        raise NotImplementedError

    def forward(
        self,
        query: Tensor | Array,
        key: Tensor | Array | None = None,
        value: Tensor | Array | None = None,
        lengths: object = None,
        mask: object = None,
    ) -> tuple[Tensor, Tensor]:
        """The context and the weights: see the module's text."""
        name = type(self).__name__
        q = as_tensor(name, "query", query, self.dtype)
        k = q if key is None else as_tensor(name, "key", key, self.dtype)
        v = k if value is None else as_tensor(name, "value", value, self.dtype)
        if q.ndim == 2:
            one = ops.reshape(q, (len(q), 1, q.shape[1]))
            context, weights = self._attend(one, k, v, lengths, _for_one(mask))
            return context[:, 0], weights[:, 0]
        return self._attend(q, k, v, lengths, mask)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: object, mask: object
    ) -> tuple[Tensor, Tensor]:
        name = type(self).__name__
        check_shapes(name, q, k, v, self.query_size, self.key_size)
        allowed = attention_mask(name, q, k, lengths, mask)
        seen = without_unseen(allowed, *((k,) if v is k else (k, v)))
        return attend(self.scores(q, seen[0]), seen[-1], allowed)


class AdditiveAttention(Attention):
    """score = weight . tanh(W query + U key) (Bahdanau et al. 2015).

    `query_layer.weight` W (H, Cq), `key_layer.weight` U (H, Ck) and `weight` (H,) start evenly
    spread within 1 / sqrt(Cq), 1 / sqrt(Ck) and 1 / sqrt(H), where H = `hidden_size`. The call is
    described in the module's text.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.AdditiveAttention(query_size=4, key_size=6, hidden_size=8)
    >>> keys = np.ones((2, 5, 6), np.float32)
    >>> context, weights = layer(np.ones((2, 4), np.float32), keys, lengths=[5, 2])
    >>> context.shape, weights.data[1].round(2).tolist()
    ((2, 6), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    weight: Parameter

    def __init__(
        self, query_size: int, key_size: int, hidden_size: int, dtype: DTypeLike = np.float32
    ) -> None:
        self.query_size = checks.size("AdditiveAttention", "query_size", query_size)
        self.key_size = checks.size("AdditiveAttention", "key_size", key_size)
        self.hidden_size = checks.size("AdditiveAttention", "hidden_size", hidden_size)
        self.dtype = checks.float_dtype("AdditiveAttention", dtype)
        self.query_layer = Linear(self.query_size, self.hidden_size, bias=False, dtype=dtype)
        self.key_layer = Linear(self.key_size, self.hidden_size, bias=False, dtype=dtype)
        self.weight = _spread((self.hidden_size,), self.dtype)

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return additive_scores(self.query_layer(query), self.key_layer(key), self.weight)

    def describe(self) -> str:
        return f"{self.query_size}, {self.key_size}, {self.hidden_size}"


class LuongAttention(Attention):
    """The multiplicative attention of Luong et al. (2015), by its `score`.

        "dot"        query . key                                    nothing to learn; Cq = Ck
        "general"    query . (weight key)                           weight (Cq, Ck)
        "concat"     vector . tanh(weight [query; key])             weight (H, Cq + Ck), vector (H,)

    H is `hidden_size`, for "concat" alone. All start evenly spread within 1 / sqrt of their last
    length. The call is described in the module's text.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.LuongAttention("general", query_size=4, key_size=6)
    >>> keys = np.ones((2, 5, 6), np.float32)
    >>> context, weights = layer(np.ones((2, 3, 4), np.float32), keys, lengths=[5, 2])
    >>> context.shape, weights.shape
    ((2, 3, 6), (2, 3, 5))
    """

    weight: Parameter | None
    vector: Parameter | None

    def __init__(
        self,
        score: str,
        query_size: int,
        key_size: int,
        hidden_size: int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.score = checks.one_of("LuongAttention", "score", score, ("dot", "general", "concat"))
        self.query_size = checks.size("LuongAttention", "query_size", query_size)
        self.key_size = checks.size("LuongAttention", "key_size", key_size)
        self.hidden_size = self._check_hidden(hidden_size)
        self.dtype = checks.float_dtype("LuongAttention", dtype)
        shapes = {
            "general": (self.query_size, self.key_size),
            "concat": (self.hidden_size, self.query_size + self.key_size),
        }
        self.weight = _spread(shapes[score], self.dtype) if score in shapes else None
        self.vector = _spread((self.hidden_size,), self.dtype) if score == "concat" else None

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        if self.weight is None:
            return dot_scores(query, key)
        if self.vector is None:
            return dot_scores(query, linear(key, self.weight))
        w, n = self.weight, self.query_size
        return additive_scores(linear(query, w[:, :n]), linear(key, w[:, n:]), self.vector)

    def describe(self) -> str:
        hidden = f", {self.hidden_size}" if self.hidden_size else ""
        return f"{self.score!r}, {self.query_size}, {self.key_size}{hidden}"

    def _check_hidden(self, hidden_size: int | None) -> int:
        if self.score == "dot" and self.query_size != self.key_size:
            raise ValueError(
                f"LuongAttention: key_size: expected query_size = {self.query_size} for 'dot', "
                f"got {self.key_size}"
            )
        if self.score == "concat":
            if hidden_size is None:
                raise ValueError(
                    "LuongAttention: hidden_size: expected an int for 'concat', got None"
                )
            return checks.size("LuongAttention", "hidden_size", hidden_size)
        if hidden_size is not None:
            raise ValueError(
                f"LuongAttention: hidden_size: expected None for {self.score!r}, got {hidden_size}"
            )
        return 0


def _for_one(mask: object) -> object:
    """A mask (B, K) as (B, 1, K)."""
    return None if mask is None else np.expand_dims(np.atleast_1d(np.asarray(mask)), -2)


def _spread(shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> Parameter:
    bound = 1 / math.sqrt(shape[-1])
    return Parameter(random.uniform(shape, -bound, bound, dtype))
