"""The `Tensor`: see `recurra.autograd`, which is where to import it from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import recurra  # recurra.ops is built on Tensor: it is looked up when an operator runs
from recurra import checks
from recurra.graph import Node, Source, backpropagate, mark_update
from recurra.results import Array

__all__ = ["Axes", "Operand", "Tensor"]

Operand: TypeAlias = "Tensor | Array | float"
"""What an operation takes beside a tensor: an array of its dtype, or a Python number."""
Axes: TypeAlias = int | tuple[int, ...] | None
"""The axes to reduce, negative ones counted from the end; None is all of them."""


class Tensor:
    """An array with a gradient.

    `array` is anything NumPy makes a float32 or float64 array of. It is not copied: the tensor
    shares its memory. With `requires_grad=True` the tensor is a leaf, and every `backward` of a
    result that used it adds to its `grad`.

    Arithmetic broadcasts as NumPy's. The other operand is a tensor, an array of the same dtype or
    a Python number, which takes the tensor's dtype. For anything else there is `data`:

    >>> import numpy as np
    >>> from recurra import Tensor
    >>> x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    >>> y = (x * 2 - 1).sum(axis=0)
    >>> y
    Tensor([2. 2. 2.], dtype=float32, requires_grad=True)
    >>> y.backward(np.array([1, 0, 0], np.float32))
    >>> x.grad
    array([[2., 0., 0.],
           [2., 0., 0.]], dtype=float32)
    """

    __slots__ = ("_array", "_made_by", "grad", "requires_grad", "version")

    # NumPy then leaves `array * tensor` to the tensor, and refuses `np.exp(tensor)`.
    __array_ufunc__ = None

    _array: Array
    _made_by: tuple[Node, int] | None
    requires_grad: bool
    """Whether results that use this tensor record how they were made."""
    grad: Array | None
    """The sum of the gradients since `zero_grad`: None before the first `backward`, and always
    for tensors that an operation made."""
    version: int
    """How often the values were replaced. A graph made from older values refuses `backward`."""

    def __init__(self, array: object, requires_grad: bool = False) -> None:
        self._array = checks.float_array("Tensor", "array", array)
        self._made_by = None
        self.grad = None
        self.requires_grad = checks.flag("Tensor", "requires_grad", requires_grad)
        self.version = 0

    @classmethod
    def made(cls, array: Array, made_by: tuple[Node, int] | None) -> Tensor:
        """The tensor of a result that was checked: `made_by` is None if nothing was recorded."""
        tensor = cls.__new__(cls)
        tensor._array = array
        tensor._made_by = made_by
        tensor.grad = None
        tensor.requires_grad = made_by is not None
        tensor.version = 0
        return tensor

    @property
    def data(self) -> Array:
        """The values: an array that shares memory. Assignment must keep shape and dtype."""
        return self._array

    @data.setter
    def data(self, value: object) -> None:
        array = checks.float_array("Tensor", "data", value, self.dtype)
        checks.shape("Tensor", "data", array, "of the tensor", self.shape)
        self._array = array
        self.mark_updated()

    def mark_updated(self) -> None:
        """Say that `data` was written in place, so that a graph made before is refused."""
        self.version += 1
        mark_update()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        return self._array.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._made_by is None

    def numpy(self) -> Array:
        """The same as `data`."""
        return self._array

    def item(self) -> float:
        """The value of a tensor with one element, as a Python float."""
        if self.size != 1:
            raise ValueError(f"item: tensor: expected one element, got shape {self.shape}")
        return float(self._array.item())

    def detach(self) -> Tensor:
        """A tensor over the same memory that does not know how it was made."""
        return Tensor.made(self._array, None)

    def zero_grad(self) -> None:
        """Forget the gradient: `grad` is None again."""
        self.grad = None

    def backward(self, grad: object = None) -> None:
        """Add the gradient of this tensor to the `grad` of every leaf it was made from.

        `grad` is the gradient of what is minimised with respect to this tensor, of its shape. A
        tensor with one element may leave it out, which means 1.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: tensor: expected one that requires grad, got one without")
        for leaf, gradient in backpropagate(self.source(), self._first_gradient(grad)).items():
            before = leaf.grad
            leaf.grad = gradient if before is None else np.add(before, gradient, order="C")

    def _first_gradient(self, grad: object) -> Array:
        if grad is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: grad: expected an array of shape {self.shape}, got None, "
                    "which only a tensor with one element allows"
                )
            first = np.empty(self._array.shape, self._array.dtype)
            first.fill(1)
            return first
        array = checks.float_array("backward", "grad", grad, self.dtype)
        checks.shape("backward", "grad", array, "of the tensor", self.shape)
        return array

    def source(self) -> Source:
        """Where the values came from: see `recurra.graph.Source`."""
        return self._made_by or (self, self.version)

    def __repr__(self) -> str:
        name = type(self).__name__
        values = np.array2string(self._array, prefix=f"{name}(", separator=" ")
        tail = ", requires_grad=True" if self.requires_grad else ""
        return f"{name}({values}, dtype={self.dtype}{tail})"

    def __array__(self, *args: object, **kwargs: object) -> NDArray[Any]:
        raise TypeError("Tensor: expected an array, got a Tensor; its array is .data")

    def __bool__(self) -> bool:
        raise TypeError("Tensor: expected a truth value, got a Tensor; compare .data or .item()")

    def __float__(self) -> float:
        return self.item()

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: tensor: expected at least one axis, got shape ()")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Operators and methods below are functions of recurra.ops, which documents them.

    def __add__(self, other: Operand) -> Tensor:
        return recurra.ops.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return recurra.ops.add(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return recurra.ops.sub(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return recurra.ops.sub(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return recurra.ops.mul(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return recurra.ops.mul(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return recurra.ops.div(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return recurra.ops.div(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return recurra.ops.pow(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return recurra.ops.pow(other, self)

    def __matmul__(self, other: Tensor | Array) -> Tensor:
        return recurra.ops.matmul(self, other)

    def __rmatmul__(self, other: Tensor | Array) -> Tensor:
        return recurra.ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return recurra.ops.neg(self)

    def __abs__(self) -> Tensor:
        return recurra.ops.abs(self)

    def __getitem__(self, index: Any) -> Tensor:
        return recurra.ops.getitem(self, index)

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        return recurra.ops.sum(self, axis, keepdims)

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        return recurra.ops.mean(self, axis, keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        return recurra.ops.max(self, axis, keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return recurra.ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int) -> Tensor:
        return recurra.ops.transpose(self, axes or None)

    @property
    def T(self) -> Tensor:
        return recurra.ops.transpose(self)
