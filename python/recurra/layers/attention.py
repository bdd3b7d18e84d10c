"""The parts of attention: scores, a softmax over valid keys, a weighted sum of values.

Letters: `B` batch rows, `Q` queries, `K` keys and as many values, `C` features. The
arithmetic is the core's: its bits depend neither on other rows nor on padding behind the keys.
"""

import functools
from typing import NoReturn

import numpy as np

from recurra import _core, checks
from recurra.autograd import Tensor, fused_node, node
from recurra.layers.masks import Mask, bool_array, kept, valid_steps
from recurra.results import Array


def dot_scores(query: Tensor, key: Tensor) -> Tensor:
    """query (B, Q, C) and key (B, K, C) to their dot products (B, Q, K)."""
    q, k = query.data, key.data
    scores = _core.linear_forward_each(q, k)

    def backward(g: Array) -> tuple[Array, Array]:
        return _core.linear_backward_each(q, k, g)

    return fused_node("dot_scores", (scores,), (query, key), backward)[0]


def additive_scores(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """query (B, Q, H), key (B, K, H), weight (H,) to weight . tanh(query + key): (B, Q, K)."""
    q, k, w = query.data, key.data, weight.data
    scores = _core.additive_forward(q, k, w)

    def backward(g: Array) -> tuple[Array, Array, Array]:
        return _core.additive_backward(q, k, w, g)

    return fused_node("additive_scores", (scores,), (query, key, weight), backward)[0]


def attend(scores: Tensor, values: Tensor, mask: Mask | None) -> tuple[Tensor, Tensor]:
    """scores (B, Q, K) and values (B, K, C) to their weighted sums (B, Q, C) and the weights.

    Where `mask` (B, Q, K) is False the weight is 0. A query without any key gets zeros.
    """
    weights = masked_softmax(scores, mask)
    w, v = weights.data, np.swapaxes(values.data, 1, 2)
    y = _core.linear_forward_each(w, v)

    def backward(g: Array) -> tuple[Array, Array]:
        dw, dv = _core.linear_backward_each(w, v, g)
        return dw, np.swapaxes(dv, 1, 2)

    return fused_node("attend", (y,), (weights, values), backward)[0], weights


def masked_softmax(scores: Tensor, mask: Mask | None) -> Tensor:
    """The softmax of scores (B, Q, K) over the keys where `mask` is True; 0 elsewhere."""
    y = _core.softmax_forward("attention", scores.data, mask)
    return node("masked_softmax", y, (scores, lambda g: _core.softmax_backward("attention", y, g)))


def check_shapes(
    operation: str, query: Tensor, key: Tensor, value: Tensor, query_size: int, key_size: int
) -> None:
    """Refuse what is not query (B, Q, Cq), key (B, K, Ck) and value (B, K, Cv)."""
    q, k, v = query.shape, key.shape, value.shape
    if len(q) != 3 or q[2] != query_size:
        _refuse(operation, "query", f"(B, Q, Cq) = (B, Q, {query_size})", q)
    if len(k) != 3 or (k[0], k[2]) != (q[0], key_size):
        _refuse(operation, "key", f"(B, K, Ck) = ({q[0]}, K, {key_size})", k)
    if len(v) != 3 or v[:2] != k[:2]:
        _refuse(operation, "value", f"(B, K, Cv) = ({k[0]}, {k[1]}, Cv)", v)


def _refuse(operation: str, argument: str, wanted: str, got: tuple[int, ...]) -> NoReturn:
    raise ValueError(f"{operation}: {argument}: expected shape {wanted}, got {got}")


def attention_mask(
    operation: str,
    query: Tensor,
    key: Tensor,
    lengths: object,
    mask: object,
    is_causal: bool = False,
) -> Mask | None:
    """True (B, Q, K) where query q may look at key k, None where it may everywhere.

    `lengths` (B,) are of the keys, `mask` broadcasts to (B, Q, K); with `is_causal`, k <= q.
    """
    batch, queries, keys = *query.shape[:2], key.shape[1]
    shape, masks = (batch, queries, keys), list[Mask]()
    if lengths is not None:
        masks.append(valid_steps(operation, lengths, batch, keys, "K")[:, None])
    if mask is not None:
        masks.append(bool_array(operation, "mask", mask, "(B, Q, K)", shape))
    if checks.flag(operation, "is_causal", is_causal):
        masks.append(np.tri(queries, keys, dtype=np.bool_))
    return np.broadcast_to(functools.reduce(np.logical_and, masks), shape) if masks else None


def without_unseen(mask: Mask | None, *inputs: Tensor) -> list[Tensor]:
    """Keys and values (B, K, C) with zeros where no query looks.

    Their weight is 0 there, but 0 times what padding holds, if that is infinite or NaN, is not.
    """
    if mask is None:
        return list(inputs)
    seen: Mask = np.logical_or.reduce(mask, axis=1)
    return [node("seen", kept(seen, x.data), (x, lambda g: kept(seen, g))) for x in inputs]
