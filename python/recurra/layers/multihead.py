"""Scaled dot-product attention, with one head or many."""

import math

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks, ops, random
from recurra.autograd import Operand, Tensor, as_tensor
from recurra.layers.attention import (
    attend,
    attention_mask,
    check_shapes,
    dot_scores,
    without_unseen,
)
from recurra.layers.linear_map import Linear, linear
from recurra.layers.masks import Mask
from recurra.module import Module, Parameter
from recurra.results import Array


def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    lengths: object = None,
    mask: object = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The softmax of query . key * scale, and the values it weights (Vaswani et al. 2017).

    query (B, Q, C), key (B, K, C), value (B, K, Cv) to the context (B, Q, Cv) and the weights
    (B, Q, K). `lengths` (B,) of the keys and booleans `mask`, which broadcast to (B, Q, K), say
    where query q may look; `is_causal` that it may not look at keys k > q. A query that may look
    nowhere gets zeros. `scale` is 1 / sqrt(C) if None.

    >>> import numpy as np
    >>> from recurra.layers import scaled_dot_product_attention
    >>> x = np.ones((1, 3, 2))
    >>> context, weights = scaled_dot_product_attention(x, x, x, is_causal=True)
    >>> weights.data[0].round(2).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.33, 0.33, 0.33]]
    """
    name = "scaled_dot_product_attention"
    q = as_tensor(name, "query", query)
    k, v = as_tensor(name, "key", key, q.dtype), as_tensor(name, "value", value, q.dtype)
    size = q.shape[-1] if q.ndim else 0
    check_shapes(name, q, k, v, size, size)
    scale = 1 / math.sqrt(max(size, 1)) if scale is None else checks.number(name, "scale", scale)
    if not math.isfinite(scale):
        raise ValueError(f"{name}: scale: expected a finite number, got {scale}")
    allowed = attention_mask(name, q, k, lengths, mask, is_causal)
    k, v = without_unseen(allowed, k, v)
    return attend(dot_scores(q * scale, k), v, allowed)


class MultiheadAttention(Module):
    """Scaled dot-product attention in `num_heads` projections (Vaswani et al. 2017).

    E = `embed_dim` features are split among the heads. Parameters have PyTorch's names and shapes:
    `in_proj_weight` (3*E, E) and `in_proj_bias` (3*E,) for query, key and value, `out_proj.weight`
    (E, E) and `out_proj.bias` (E,); no biases with `bias=False`. They start as PyTorch's do.

    >>> import numpy as np
    >>> import recurra
    >>> layer, x = recurra.MultiheadAttention(8, num_heads=2), np.ones((3, 5, 8), np.float32)
    >>> y, weights = layer(x, lengths=[5, 2, 0])  # as layer(x, x, x, lengths=...)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 2, 5, 5))
    """

    in_proj_weight: Parameter
    in_proj_bias: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, bias: bool = True, dtype: DTypeLike = np.float32
    ) -> None:
        self.embed_dim = checks.size("MultiheadAttention", "embed_dim", embed_dim)
        self.num_heads = checks.size("MultiheadAttention", "num_heads", num_heads)
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim: expected a multiple of num_heads = "
                f"{self.num_heads}, got {self.embed_dim}"
            )
        has_bias = checks.flag("MultiheadAttention", "bias", bias)
        self.dtype = checks.float_dtype("MultiheadAttention", dtype)
        shape = (3 * self.embed_dim, self.embed_dim)
        bound = math.sqrt(6 / sum(shape))
        self.in_proj_weight = Parameter(random.uniform(shape, -bound, bound, self.dtype))
        self.in_proj_bias = Parameter(np.zeros(shape[0], self.dtype)) if has_bias else None
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias=has_bias, dtype=self.dtype)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data[...] = 0

    def forward(
        self,
        query: Tensor | Array,
        key: Tensor | Array | None = None,
        value: Tensor | Array | None = None,
        lengths: object = None,
        mask: object = None,
        *,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """query (B, Q, E), key and value (B, K, E) to (B, Q, E) and weights (B, heads, Q, K).

        Without `key`, queries look at each other (self-attention); without `value`, it is the keys.
        The rest is as in `scaled_dot_product_attention`; all heads have the same mask.
        """
        name, size = "MultiheadAttention", self.embed_dim
        q = as_tensor(name, "query", query, self.dtype)
        k = q if key is None else as_tensor(name, "key", key, self.dtype)
        v = k if value is None else as_tensor(name, "value", value, self.dtype)
        check_shapes(name, q, k, v, size, size)
        if v.shape[2] != size:
            raise ValueError(f"{name}: value: expected shape (B, K, E) = {k.shape}, got {v.shape}")
        allowed = attention_mask(name, q, k, lengths, mask, is_causal)
        k, v = without_unseen(allowed, k, v)
        heads = [self._split(self._project(i, x)) for i, x in enumerate((q, k, v))]
        return self._merge(heads, allowed, len(q))

    def describe(self) -> str:
        no_bias = "" if self.in_proj_bias is not None else ", bias=False"
        return f"{self.embed_dim}, {self.num_heads}{no_bias}"

    def _project(self, i: int, x: Tensor) -> Tensor:
        rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        return linear(x, self.in_proj_weight[rows], bias)

    def _split(self, x: Tensor) -> Tensor:
        """x (B, N, E) to (B*heads, N, E/heads)."""
        batch, count, size = x.shape
        parts = ops.reshape(x, (batch, count, self.num_heads, size // self.num_heads))
        return ops.reshape(
            ops.transpose(parts, (0, 2, 1, 3)), (batch * self.num_heads, count, parts.shape[3])
        )

    def _merge(
        self, heads: list[Tensor], allowed: Mask | None, batch: int
    ) -> tuple[Tensor, Tensor]:
        """The attention of every head, put together and projected, and the weights."""
        q, k, v = heads
        mask = None if allowed is None else np.repeat(allowed, self.num_heads, axis=0)
        context, weights = attend(dot_scores(q * (1 / math.sqrt(q.shape[2])), k), v, mask)
        parts = ops.reshape(context, (batch, self.num_heads, *context.shape[1:]))
        joined = ops.reshape(
            ops.transpose(parts, (0, 2, 1, 3)), (batch, q.shape[1], self.embed_dim)
        )
        return self.out_proj(joined), ops.reshape(
            weights, (batch, self.num_heads, *weights.shape[1:])
        )
