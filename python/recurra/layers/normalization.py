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
    normalized = rows - mean
    variance = _mean(normalized * normalized, axis)
    inverse = 1 / np.sqrt(variance + rows.dtype.type(eps))
    normalized *= inverse

    def through(dx: Array, product: Array) -> None:
        along = _mean(product, axis)
        dx -= _mean(dx, axis)
        dx -= np.multiply(normalized, along, out=product)
        dx *= inverse

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
    normalized = rows - mean
    normalized *= inverse

    def through(dx: Array, _: Array) -> None:
        dx *= inverse

    return _affine(normalized, mean, variance, weight, bias, through)


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
    through: Callable[[Array, Array], None],
) -> Scaled:
    """`through` turns the gradient of `normalized` into that of the rows, in place.

    It also takes the product of both, which it may overwrite: large arrays cost more to allocate
    than to compute.
    """
    y = normalized if weight is None else normalized * weight.data
    if bias is not None:
        y += bias.data

    def backward(g: Array) -> list[Array]:
        product = g * normalized
        parameters = [] if weight is None else [_column_sums(product)]
        if bias is not None:
            parameters.append(_column_sums(g))
        dx = g.copy()
        if weight is not None:
            dx *= weight.data
            product *= weight.data
        through(dx, product)
        return [dx, *parameters]

    return Scaled(y, mean, variance, backward)


def _column_sums(rows: Array) -> Array:
    """The sums over N, in blocks of which float64 takes the sum: thousands of rows stay exact."""
    whole = len(rows) - len(rows) % _BLOCK
    blocks = rows[:whole].reshape(-1, _BLOCK, rows.shape[1]).sum(1)
    total: Array = blocks.sum(0, dtype=np.float64) + rows[whole:].sum(0)
    return total.astype(rows.dtype, copy=False)


def _mean(rows: Array, axis: int) -> Array:
    if axis == 0:
        return _column_sums(rows)[None] / rows.dtype.type(len(rows))
    mean: Array = rows.mean(1, keepdims=True)
    return mean


_BLOCK = 64
