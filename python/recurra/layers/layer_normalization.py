"""Layer normalization."""

import math

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks
from recurra.autograd import Operand, Tensor, as_tensor, core_node
from recurra.layers.normalization import affine_of
from recurra.module import Module, Parameter
from recurra.results import Array


class LayerNorm(Module):
    """Zero mean and unit variance over the last axis (Ba et al. 2016): (..., F) to (..., F).

        y = (x - mean) / sqrt(variance + eps) * weight + bias

    `weight` (F,) starts at one and `bias` (F,) at zero; `elementwise_affine=False` has neither,
    `bias=False` no bias. Every vector is normalized alone, so padding needs no mask: in the
    core, with the same bits whatever stands beside it.

    >>> import numpy as np
    >>> import recurra
    >>> recurra.LayerNorm(2)(np.array([[1.0, 3.0]], np.float32)).data.round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.features = checks.size("LayerNorm", "features", features)
        self.eps = checks.within("LayerNorm", "eps", eps, 0)
        self.dtype = checks.float_dtype("LayerNorm", dtype)
        affine = checks.flag("LayerNorm", "elementwise_affine", elementwise_affine)
        has_bias = checks.flag("LayerNorm", "bias", bias) and affine
        checks.room("LayerNorm", "features", (affine + has_bias, self.features), self.dtype)
        self.weight = Parameter(np.ones(self.features, self.dtype)) if affine else None
        self.bias = Parameter(np.zeros(self.features, self.dtype)) if has_bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        """x (..., F), a tensor or an array of the layer's dtype."""
        x = as_tensor("LayerNorm", "x", x, self.dtype)
        if x.shape[-1:] != (self.features,):
            raise ValueError(
                f"LayerNorm: x: expected shape (..., F) = (..., {self.features}), got {x.shape}"
            )
        return layer_norm(x, self.weight, self.bias, self.eps)

    def describe(self) -> str:
        affine = "" if self.weight is not None else ", elementwise_affine=False"
        no_bias = ", bias=False" if self.weight is not None and self.bias is None else ""
        return f"{self.features}{affine}{no_bias}"


def layer_norm(
    x: Operand, weight: "Operand | None" = None, bias: "Operand | None" = None, eps: float = 1e-5
) -> Tensor:
    """x (..., F) normalized over F, times `weight` (F,), plus `bias` (F,): see `LayerNorm`.

    >>> import numpy as np
    >>> from recurra.layers import layer_norm
    >>> layer_norm(np.array([[1.0, 3.0]]), eps=0).data
    array([[-1.,  1.]])
    """
    x = as_tensor("layer_norm", "x", x)
    weight, bias = affine_of("layer_norm", x, weight, bias)
    eps = checks.within("layer_norm", "eps", eps, 0)
    rows = x.data.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    w, b = (None if given is None else given.data for given in (weight, bias))
    y, mean, scale = _core.layer_norm_forward(rows, w, b, eps)

    def backward(g: Array) -> list[Array]:
        dx, *of_affine = _core.layer_norm_backward(rows, w, mean, scale, g.reshape(rows.shape))
        return [dx.reshape(x.shape), *of_affine]

    y = y.reshape(x.shape)
    return core_node("layer_norm", (y,), (x, weight, bias), backward)[0]
