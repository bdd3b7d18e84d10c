"""What layer and batch normalization share, on rows (N, F), with closed gradients.

Sums are NumPy's, on one thread and in an order that the length of the sum decides.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recurra import checks
from recurra.autograd import Tensor
from recurra.results import Array


class Scaled(NamedTuple):
    """Rows (N, F) with zero mean and unit variance, times a weight, plus a bias."""

    y: Array
    mean: Array
    variance: Array
    """Divided by the count."""
    backward: Callable[[Array], list[Array]]
    """From the gradient of y to those of the rows and, where there are any, weight and bias."""


def standardized(
    rows: Array, axis: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Scaled:
    """Rows normalized by their own mean and variance over `axis`."""
    mean = _mean(rows, axis)
    centred = rows - mean
    variance = _mean(centred * centred, axis)
    inverse = 1 / np.sqrt(variance + rows.dtype.type(eps))
    normalized = centred * inverse

    def through(g: Array) -> Array:
        along = _mean(g * normalized, axis)
        dx: Array = inverse * (g - _mean(g, axis) - normalized * along)
        return dx

    return _affine(normalized, mean, variance, weight, bias, through)


def shifted(
    rows: Array,
    mean: Array,
    variance: Array,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Scaled:
    """Rows normalized by a `mean` and a `variance` (F,) that are given."""
    inverse = 1 / np.sqrt(variance + rows.dtype.type(eps))
    normalized = (rows - mean) * inverse
    return _affine(normalized, mean, variance, weight, bias, lambda g: g * inverse)


def check_affine(operation: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Refuse a weight or a bias that is not (F,) for x (..., F), F >= 1."""
    if x.shape[-1:] in ((), (0,)):
        raise ValueError(f"{operation}: x: expected shape (..., F) with F >= 1, got {x.shape}")
    if weight is None and bias is not None:
        raise ValueError(f"{operation}: bias: expected None without weight, got an array")
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None:
            checks.float_array(operation, name, given.data, x.dtype)
            checks.shape(operation, name, given.data, "(F,)", x.shape[-1:])


def _affine(
    normalized: Array,
    mean: Array,
    variance: Array,
    weight: Tensor | None,
    bias: Tensor | None,
    through: Callable[[Array], Array],
) -> Scaled:
    w = None if weight is None else weight.data
    y = normalized if w is None else normalized * w
    y = y if bias is None else y + bias.data

    def backward(g: Array) -> list[Array]:
        gradients = [through(g if w is None else g * w)]
        if w is not None:
            gradients.append(_column_sums(g * normalized))
        if bias is not None:
            gradients.append(_column_sums(g))
        return gradients

    return Scaled(y, mean, variance, backward)


def _column_sums(rows: Array) -> Array:
    total: Array = rows.sum(0, dtype=np.float64)
    return total.astype(rows.dtype, copy=False)


def _mean(rows: Array, axis: int) -> Array:
    # Columns are added one row after the other: thousands of them need the wider type. A row is
    # added pairwise, which NumPy does alike for every row only if it has nothing to convert.
    dtype = np.dtype(np.float64) if axis == 0 else rows.dtype
    mean: Array = rows.mean(axis, dtype=dtype, keepdims=True)
    return mean.astype(rows.dtype, copy=False)
