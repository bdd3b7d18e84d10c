"""Sums, means and maxima over axes, and the softmax functions made of them."""

from typing import Literal

import numpy as np

from recurra import _core, checks
from recurra.autograd import Axes, Operand, Tensor, as_tensor, node
from recurra.results import Array


def sum(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`, which stays with length 1 if `keepdims`.

    >>> from recurra import Tensor, ops
    >>> ops.sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).data
    array([4., 6.])
    """
    x = as_tensor("sum", "x", x)
    axis = checked_axes("sum", axis, x.ndim)
    a = x.data
    y = a.sum(axis, keepdims=keepdims)
    return node("sum", y, (x, lambda g: _stretch(g, a, axis)))


def mean(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`, which stays with length 1 if `keepdims`.

    >>> from recurra import Tensor, ops
    >>> ops.mean(Tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    2.5
    """
    x = as_tensor("mean", "x", x)
    axis = checked_axes("mean", axis, x.ndim)
    a = x.data
    y = a.mean(axis, keepdims=keepdims)
    count = a.size // (np.size(y) or 1)
    return node("mean", y, (x, lambda g: _stretch(g, a, axis) / count))


def max(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The maximum over `axis`; equal maxima share the gradient evenly.

    >>> from recurra import Tensor, ops
    >>> ops.max(Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1).data
    array([2., 4.])
    """
    x = as_tensor("max", "x", x)
    axis = checked_axes("max", axis, x.ndim)
    a = x.data
    y = a.max(axis, keepdims=keepdims)

    def backward(g: Array) -> Array:
        is_max = (a == _stretch(y, a, axis)) | np.isnan(a)
        share: Array = is_max / is_max.sum(axis, keepdims=True, dtype=a.dtype)
        return _stretch(g, a, axis) * share

    return node("max", y, (x, backward))


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """e ** x divided by its sum over `axis`, without overflow.

    >>> from recurra import Tensor, ops
    >>> ops.softmax(Tensor([1000.0, 1000.0])).data
    array([0.5, 0.5])
    """
    return _over_rows("softmax", x, axis)


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """The logarithm of `softmax`, exact where softmax itself would round to 0.

    >>> from recurra import Tensor, ops
    >>> ops.log_softmax(Tensor([0.0, 1000.0])).data
    array([-1000.,     0.])
    """
    return _over_rows("log_softmax", x, axis)


def _over_rows(form: Literal["softmax", "log_softmax"], x: Operand, axis: int) -> Tensor:
    """One of the core's functions of rows, along `axis`."""
    x = as_tensor(form, "x", x)
    axis = checked_axis(form, axis, x.ndim or 1)  # one number is a row of itself
    a = _to_last(x.data, axis)
    length = a.shape[-1] if a.ndim else 1
    if length == 0:
        raise ValueError(f"{form}: x: expected at least one element along the axis, got {x.shape}")
    rows = (1, a.size // length, length)
    y = _core.softmax_forward(form, a.reshape(rows))

    def backward(g: Array) -> Array:
        dx = _core.softmax_backward(form, y, _to_last(g, axis).reshape(rows))
        return _to_last(dx.reshape(a.shape), axis)

    return node(form, _to_last(y.reshape(a.shape), axis), (x, backward))


def checked_axis(operation: str, axis: object, ndim: int) -> int:
    """`axis` if an array of `ndim` axes has it; a negative one counts from the last."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        got = type(axis).__name__
        raise TypeError(f"{operation}: axis: expected an int, got {got}")
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"{operation}: axis: expected {-ndim} <= axis < {ndim}, got {checks.brief(axis)}"
        )
    return int(axis)


def checked_axes(operation: str, axis: object, ndim: int) -> Axes:
    """None, an axis or a tuple of different ones."""
    if axis is None:
        return None
    if not isinstance(axis, tuple):
        return checked_axis(operation, axis, ndim)
    found = tuple(checked_axis(operation, each, ndim) for each in axis)
    if len({each % ndim for each in found}) < len(found):
        raise ValueError(f"{operation}: axis: expected each axis once, got {axis}")
    return found


def _to_last(a: Array, axis: int) -> Array:
    """`a` with this axis and the last one swapped: doing it again undoes it."""
    return a if axis in (-1, a.ndim - 1) else np.swapaxes(a, axis, -1)


def _stretch(reduced: Array, whole: Array, axis: Axes) -> Array:
    """`reduced`, the result of reducing `whole` over `axis`, repeated to the shape of `whole`."""
    if axis is None:
        reduced = np.reshape(reduced, (1,) * whole.ndim)
    elif np.ndim(reduced) != whole.ndim:
        reduced = np.expand_dims(reduced, axis)
    return np.broadcast_to(reduced, whole.shape)
