"""The linear map over the last axis, computed by the core."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks, random
from recurra.autograd import Operand, Tensor, as_tensor, core_node
from recurra.module import Module, Parameter
from recurra.results import Array


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
        has_bias, kind = checks.flag("Linear", "bias", bias), checks.float_dtype("Linear", dtype)
        bound = 1 / math.sqrt(self.in_features)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(random.uniform(shape, -bound, bound, kind))
        self.bias = Parameter(random.uniform(shape[0], -bound, bound, kind)) if has_bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        """x (..., I), a tensor or an array of the layer's dtype, to (..., O)."""
        return linear(x, self.weight, self.bias)

    def describe(self) -> str:
        no_bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{no_bias}"


def linear(x: Operand, weight: Operand, bias: "Operand | None" = None) -> Tensor:
    """x (..., I) times the transpose of `weight` (O, I), plus `bias` (O,): (..., O)."""
    weight = as_tensor("linear", "weight", weight)
    w = weight._array
    if w.ndim != 2:
        raise ValueError(f"linear: weight: expected shape (O, I), got {w.shape}")
    if bias is not None:
        bias = as_tensor("linear", "bias", bias, w.dtype)
    x = as_tensor("linear", "x", x, w.dtype)
    a, needs_dx = x._array, x.requires_grad
    if a.shape[-1:] != w.shape[1:]:
        wanted = f"(..., I) = (..., {w.shape[1]})"
        raise ValueError(f"linear: x: expected shape {wanted}, got {a.shape}")
    y = _core.linear_forward(a, w, None if bias is None else bias._array)

    def backward(g: Array) -> Sequence[Array | None]:
        return _core.linear_backward(a, w, g, needs_dx)

    return core_node("linear", (y,), (x, weight, bias), backward)[0]
