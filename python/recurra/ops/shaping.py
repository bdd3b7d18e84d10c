"""Operations that move elements without changing them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from recurra import checks
from recurra.autograd import Operand, Tensor, as_tensor, fused_node, node
from recurra.ops.arithmetic import operands, sum_to
from recurra.ops.reductions import checked_axis
from recurra.results import Array


def reshape(x: Operand, shape: int | tuple[int, ...]) -> Tensor:
    """The elements in the same order under another shape; one length may be -1.

    >>> from recurra import Tensor, ops
    >>> ops.reshape(Tensor([[1.0, 2.0], [3.0, 4.0]]), (-1,)).data
    array([1., 2., 3., 4.])
    """
    x = as_tensor("reshape", "x", x)
    try:
        y = x.data.reshape(shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"reshape: shape: expected one of {x.size} elements as {x.shape} has, "
            f"got {checks.brief(shape)}"
        ) from None
    return node("reshape", y, (x, lambda g: g.reshape(x.shape)))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; None reverses them.

    >>> import numpy as np
    >>> from recurra import Tensor, ops
    >>> ops.transpose(Tensor(np.ones((2, 3, 4))), (1, 0, 2)).shape
    (3, 2, 4)
    """
    x = as_tensor("transpose", "x", x)
    if axes is not None and not _are_all_axes(axes, x.ndim):
        raise ValueError(
            f"transpose: axes: expected each axis of shape {x.shape} once, got {checks.brief(axes)}"
        )
    back = None if axes is None else np.argsort([axis % x.ndim for axis in axes])
    return node("transpose", x.data.transpose(axes), (x, lambda g: g.transpose(back)))


def getitem(x: Operand, index: Any) -> Tensor:
    """x[index] with what NumPy takes: integers, slices, ..., None, integer and boolean arrays.

    An element taken twice gets both gradients.

    >>> import numpy as np
    >>> from recurra import Tensor, ops
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> ops.getitem(x, np.array([0, 0, 2])).sum().backward()
    >>> x.grad
    array([2., 0., 1.])
    """
    x = as_tensor("getitem", "x", x)
    parts = tuple(_private(part) for part in (index if isinstance(index, tuple) else (index,)))
    wanted = f"an index of shape {x.shape}"
    y = checks.element("getitem", "index", x.data, parts if len(parts) != 1 else parts[0], wanted)

    def backward(g: Array) -> Array:
        dx = np.zeros(x.shape, x.dtype)
        if any(isinstance(part, np.ndarray) for part in parts):
            np.add.at(dx, parts, g)
        else:
            dx[parts] = g
        return dx

    return node("getitem", y, (x, backward))


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors one after the other along an axis they have.

    >>> from recurra import Tensor, ops
    >>> ops.concatenate([Tensor([1.0]), Tensor([2.0, 3.0])]).data
    array([1., 2., 3.])
    """
    parts = _parts("concatenate", tensors)
    axis = checked_axis("concatenate", axis, parts[0].ndim)
    ends = np.cumsum([part.shape[axis] for part in parts if part.ndim == parts[0].ndim])[:-1]
    with _agreeing("concatenate", f"shapes that differ along axis {axis} alone", parts):
        y = np.concatenate([part.data for part in parts], axis)
    return fused_node("concatenate", (y,), parts, lambda g: np.split(g, ends, axis))[0]


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, beside each other along a new axis.

    >>> from recurra import Tensor, ops
    >>> ops.stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], axis=1).data
    array([[1., 3.],
           [2., 4.]])
    """
    parts = _parts("stack", tensors)
    axis = checked_axis("stack", axis, parts[0].ndim + 1)
    with _agreeing("stack", "one shape", parts):
        y = np.stack([part.data for part in parts], axis)
    return fused_node("stack", (y,), parts, lambda g: list(np.moveaxis(g, axis, 0)))[0]


def where(condition: object, a: Operand, b: Operand) -> Tensor:
    """a where the boolean array `condition` holds, b elsewhere; all three broadcast.

    >>> import numpy as np
    >>> from recurra import Tensor, ops
    >>> ops.where(np.array([True, False]), Tensor([1.0, 2.0]), 0).data
    array([1., 0.])
    """
    mask = np.array(condition)
    if mask.dtype != np.bool_:
        raise TypeError(f"where: condition: expected booleans, got {mask.dtype}")
    a, b = operands("where", a, b)
    return node(
        "where",
        np.where(mask, a.data, b.data),
        (a, lambda g: sum_to(np.where(mask, g, 0), a.shape)),
        (b, lambda g: sum_to(np.where(mask, 0, g), b.shape)),
    )


def _private(part: Any) -> Any:
    """A part of an index; what NumPy reads as an array, as one that the caller cannot fill again.

    Only so is it known that an element may be taken twice.
    """
    if isinstance(part, int | slice):  # the usual ones, soon answered
        return part
    is_sequence = isinstance(part, Sequence) and not isinstance(part, str)
    if is_sequence or (hasattr(part, "__array__") and not isinstance(part, np.generic)):
        with suppress(TypeError, ValueError):  # which is left to be refused as no index
            return np.array(part, np.intp if is_sequence and not part else None)
    return part


def _are_all_axes(axes: object, ndim: int) -> bool:
    if not isinstance(axes, Sequence) or not all(isinstance(i, int | np.integer) for i in axes):
        return False
    is_within = all(-ndim <= i < ndim for i in axes)
    return is_within and sorted(i % ndim for i in axes) == list(range(ndim))


def _parts(operation: str, tensors: object) -> list[Tensor]:
    """At least one tensor; numbers and arrays as constants."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable):
        got = type(tensors).__name__
        raise TypeError(f"{operation}: tensors: expected a list of tensors, got {got}")
    parts = [as_tensor(operation, f"tensors[{i}]", part) for i, part in enumerate(tensors)]
    if not parts:
        raise ValueError(f"{operation}: tensors: expected at least one, got none")
    return parts


@contextmanager
def _agreeing(operation: str, wanted: str, parts: list[Tensor]) -> Iterator[None]:
    try:
        yield
    except ValueError:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ValueError(f"{operation}: tensors: expected {wanted}, got {shapes}") from None
