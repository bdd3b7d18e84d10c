"""Operations on two tensors that broadcast."""

from collections.abc import Callable

import numpy as np

from recurra.autograd import Operand, Tensor, as_tensor, node
from recurra.results import Array


def add(a: Operand, b: Operand) -> Tensor:
    """a + b, broadcast.

    >>> from recurra import Tensor, ops
    >>> ops.add(Tensor([1.0, 2.0]), 3).data
    array([4., 5.])
    """
    a, b = operands("add", a, b)
    return _broadcast("add", np.add, a, b, lambda g: g, lambda g: g)


def sub(a: Operand, b: Operand) -> Tensor:
    """a - b, broadcast.

    >>> from recurra import Tensor, ops
    >>> ops.sub(3, Tensor([1.0, 2.0])).data
    array([2., 1.])
    """
    a, b = operands("sub", a, b)
    return _broadcast("sub", np.subtract, a, b, lambda g: g, lambda g: -g)


def mul(a: Operand, b: Operand) -> Tensor:
    """a * b element by element, broadcast.

    >>> from recurra import Tensor, ops
    >>> ops.mul(Tensor([1.0, 2.0]), Tensor([3.0, 4.0])).data
    array([3., 8.])
    """
    a, b = operands("mul", a, b)
    x, y = a.data, b.data
    return _broadcast("mul", np.multiply, a, b, lambda g: g * y, lambda g: g * x)


def div(a: Operand, b: Operand) -> Tensor:
    """a / b element by element, broadcast.

    >>> from recurra import Tensor, ops
    >>> ops.div(Tensor([1.0, 2.0]), 2).data
    array([0.5, 1. ])
    """
    a, b = operands("div", a, b)
    x, y = a.data, b.data
    return _broadcast("div", np.divide, a, b, lambda g: g / y, lambda g: -g * x / (y * y))


def pow(a: Operand, b: Operand) -> Tensor:
    """a ** b element by element, broadcast.

    A zero base has a gradient of 0 for its exponent, a negative base one of NaN.

    >>> from recurra import Tensor, ops
    >>> ops.pow(Tensor([1.0, 2.0, 3.0]), 2).data
    array([1., 4., 9.])
    """
    a, b = operands("pow", a, b)
    x, y = a.data, b.data

    def for_base(g: Array) -> Array:
        return g * y * np.power(x, np.where(y == 0, y, y - 1))  # x**0 is flat, even at x = 0

    def for_exponent(g: Array) -> Array:
        log = np.where(x < 0, np.asarray(np.nan, x.dtype), np.log(np.where(x > 0, x, 1)))
        return g * np.power(x, y) * log

    return _broadcast("pow", np.power, a, b, for_base, for_exponent)


def neg(a: Tensor) -> Tensor:
    """The negative: -a.

    >>> from recurra import Tensor, ops
    >>> ops.neg(Tensor([1.0, -2.0])).data
    array([-1.,  2.])
    """
    return node("neg", -a.data, (a, lambda g: -g))


def matmul(a: Operand, b: Operand) -> Tensor:
    """The matrix product a @ b, for all shapes that NumPy's `matmul` takes.

    Rows of matrices (..., N, K) @ (..., K, M) with broadcast leading axes; an `a` of shape (K,)
    counts as one row, a `b` of shape (K,) as one column, and that axis is left out of the result.

    >>> import numpy as np
    >>> from recurra import Tensor, ops
    >>> ops.matmul(Tensor(np.ones((5, 2, 3))), Tensor(np.ones((3, 4)))).shape
    (5, 2, 4)
    """
    a, b = operands("matmul", a, b)
    value = _apply("matmul", np.matmul, a, b, "multiply")
    x, y = np.atleast_2d(a.data), b.data[:, None] if b.ndim == 1 else b.data
    rows = (*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])

    def for_a(g: Array) -> Array:
        return sum_to(g.reshape(rows) @ np.swapaxes(y, -1, -2), x.shape).reshape(a.shape)

    def for_b(g: Array) -> Array:
        if y.ndim == 2:  # one product for the sum over all leading axes
            leading = range(x.ndim - 1)
            return np.tensordot(x, g.reshape(rows), axes=(leading, leading)).reshape(b.shape)
        return sum_to(np.swapaxes(x, -1, -2) @ g.reshape(rows), y.shape).reshape(b.shape)

    return node("matmul", value, (a, for_a), (b, for_b))


def operands(operation: str, a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of the dtype of the first tensor or array among them."""
    dtype = next((x.dtype for x in (a, b) if isinstance(x, Tensor)), None)
    return as_tensor(operation, "a", a, dtype), as_tensor(operation, "b", b, dtype)


def sum_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """`gradient` summed over the axes along which an array of `shape` was broadcast."""
    if gradient.shape == shape:
        return gradient
    lead = gradient.ndim - len(shape)
    stretched = (i for i, n in enumerate(shape, lead) if n == 1)
    total: Array = gradient.sum(axis=(*range(lead), *stretched), keepdims=True)
    return total.reshape(shape)


def _broadcast(
    name: str,
    function: np.ufunc,
    a: Tensor,
    b: Tensor,
    for_a: Callable[[Array], Array],
    for_b: Callable[[Array], Array],
) -> Tensor:
    return node(
        name,
        _apply(name, function, a, b, "broadcast"),
        (a, lambda g: sum_to(for_a(g), a.shape)),
        (b, lambda g: sum_to(for_b(g), b.shape)),
    )


def _apply(name: str, function: np.ufunc, a: Tensor, b: Tensor, wanted: str) -> object:
    try:
        return function(a.data, b.data)
    except ValueError:
        raise ValueError(
            f"{name}: a, b: expected shapes that {wanted}, got {a.shape} and {b.shape}"
        ) from None
