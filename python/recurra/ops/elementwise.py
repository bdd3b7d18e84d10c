"""Functions of one tensor, element by element."""

import numpy as np

from recurra import checks
from recurra.autograd import Operand, Tensor, as_tensor, node


def exp(x: Operand) -> Tensor:
    """The exponential: e ** x.

    >>> from recurra import Tensor, ops
    >>> ops.exp(Tensor([0.0])).data
    array([1.])
    """
    x = as_tensor("exp", "x", x)
    y = np.exp(x.data)
    return node("exp", y, (x, lambda g: g * y))


def log(x: Operand) -> Tensor:
    """The natural logarithm.

    >>> from recurra import Tensor, ops
    >>> ops.log(Tensor([1.0])).data
    array([0.])
    """
    x = as_tensor("log", "x", x)
    a = x.data
    return node("log", np.log(a), (x, lambda g: g / a))


def sqrt(x: Operand) -> Tensor:
    """The square root; its gradient at 0 is infinite.

    >>> from recurra import Tensor, ops
    >>> ops.sqrt(Tensor([4.0])).data
    array([2.])
    """
    x = as_tensor("sqrt", "x", x)
    y = np.sqrt(x.data)
    return node("sqrt", y, (x, lambda g: g / (y + y)))


def tanh(x: Operand) -> Tensor:
    """The hyperbolic tangent.

    >>> from recurra import Tensor, ops
    >>> ops.tanh(Tensor([0.0, 100.0])).data
    array([0., 1.])
    """
    x = as_tensor("tanh", "x", x)
    y = np.tanh(x.data)
    return node("tanh", y, (x, lambda g: g * (1 - y * y)))


def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + e ** -x), without overflow.

    >>> from recurra import Tensor, ops
    >>> ops.sigmoid(Tensor([-1000.0, 0.0, 1000.0])).data
    array([0. , 0.5, 1. ])
    """
    x = as_tensor("sigmoid", "x", x)
    y = (1 + np.tanh(x.data / 2)) / 2
    return node("sigmoid", y, (x, lambda g: g * y * (1 - y)))


def softplus(x: Operand) -> Tensor:
    """ln(1 + e ** x), without overflow: above 0 for scales and rates.

    >>> from recurra import Tensor, ops
    >>> ops.softplus(Tensor([-1000.0, 0.0, 1000.0])).data
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    x = as_tensor("softplus", "x", x)
    a = x.data
    rest = np.log1p(np.exp(-np.abs(a)))
    y = np.maximum(a, 0) + rest
    return node("softplus", y, (x, lambda g: g * np.exp(np.minimum(a, 0) - rest)))


def relu(x: Operand) -> Tensor:
    """max(x, 0); its gradient at 0 is 0.

    >>> from recurra import Tensor, ops
    >>> ops.relu(Tensor([-1.0, 2.0])).data
    array([0., 2.])
    """
    x = as_tensor("relu", "x", x)
    a = x.data
    return node("relu", np.maximum(a, 0), (x, lambda g: g * (a > 0)))


def abs(x: Operand) -> Tensor:
    """|x|; its gradient at 0 is 0.

    >>> from recurra import Tensor, ops
    >>> ops.abs(Tensor([-1.0, 2.0])).data
    array([1., 2.])
    """
    x = as_tensor("abs", "x", x)
    a = x.data
    return node("abs", np.abs(a), (x, lambda g: g * np.sign(a)))


def clip(x: Operand, low: float | None = None, high: float | None = None) -> Tensor:
    """x limited to low..high; None is no limit. The gradient is 0 outside and whole at the limits.

    >>> from recurra import Tensor, ops
    >>> ops.clip(Tensor([-3.0, 0.5, 3.0]), -1, 1).data
    array([-1. ,  0.5,  1. ])
    """
    x = as_tensor("clip", "x", x)
    low, high = (
        None if limit is None else checks.number("clip", name, limit)
        for name, limit in (("low", low), ("high", high))
    )
    y = np.clip(x.data, low, high)
    inside = y == x.data
    return node("clip", y, (x, lambda g: g * inside))
