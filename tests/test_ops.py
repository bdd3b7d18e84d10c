"""Every NumPy node: values against NumPy, gradients against differences, errors."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recurra import Tensor, ops
from tensor_gradients import array, check_gradients

BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((2, 1, 3), (4, 1)),
    ((), (2, 2)),
    ((1, 1), ()),
    ((0, 3), (3,)),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = array(*shapes[0]), array(*shapes[1], seed=1)
    function = getattr(ops, name)
    np.testing.assert_array_equal(function(Tensor(a), Tensor(b)).data, BINARY[name](a, b))
    check_gradients(function, a, b)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}


@pytest.mark.parametrize("sign", OPERATORS)
def test_operators_with_numbers_and_arrays_on_either_side(sign: str) -> None:
    function, a, b = OPERATORS[sign], abs(array(2, 3)) + 0.5, array(2, 1, seed=1)
    for other in (2, 2.5, b):
        check_gradients(lambda x, other=other: function(x, other), a)
    for other in (2, 2.5, abs(b) + 0.5):
        np.testing.assert_array_equal(function(other, Tensor(a)).data, function(other, a))
        check_gradients(lambda x, other=other: function(other, x), a)


def test_pow() -> None:
    check_gradients(ops.pow, abs(array(2, 3)) + 0.1, array(3, seed=1))
    check_gradients(lambda x: x**2, array(4))
    check_gradients(lambda x: x**3, np.array([0.0, -1.0, 2.0]))
    check_gradients(lambda x: x**0, np.array([0.0, -1.0, 2.0]))
    check_gradients(lambda x: x**1, np.array([0.0, -1.0]))
    base = Tensor([-1.0, 0.0], requires_grad=True)
    exponent = Tensor([2.0, 2.0], requires_grad=True)
    (base**exponent).sum().backward()
    assert exponent.grad is not None
    np.testing.assert_array_equal(exponent.grad, [np.nan, 0])


def test_shapes_that_do_not_broadcast() -> None:
    text = "add: a, b: expected shapes that broadcast, got (2,) and (3,)"
    with pytest.raises(ValueError, match=re.escape(text)):
        Tensor(array(2)) + array(3)


MATMUL = [
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((2, 3), (5, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 0), (0, 3)),
    ((0, 3), (3, 2)),
]


@pytest.mark.parametrize(("left", "right"), MATMUL)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = array(*left), array(*right, seed=1)
    np.testing.assert_array_equal((Tensor(a) @ b).data, a @ b)
    check_gradients(ops.matmul, a, b)


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 3)), ((), (3,)), ((2,), (3,))])
def test_matmul_refuses(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    text = f"matmul: a, b: expected shapes that multiply, got {left} and {right}"
    with pytest.raises(ValueError, match=re.escape(text)):
        Tensor(array(*left)) @ array(*right)


UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": np.negative,
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    x = array(3, 4)
    np.testing.assert_allclose(getattr(ops, name)(Tensor(x)).data, UNARY[name](x), rtol=1e-15)
    check_gradients(getattr(ops, name), x)
    assert getattr(ops, name)(Tensor(x.astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize("name", ["log", "sqrt"])
def test_of_positive_numbers(name: str) -> None:
    x = abs(array(3, 4)) + 0.1
    np.testing.assert_array_equal(getattr(ops, name)(Tensor(x)).data, getattr(np, name)(x))
    check_gradients(getattr(ops, name), x)


def test_corners_have_the_stated_gradients() -> None:
    for function in (ops.relu, ops.abs):
        x = Tensor([0.0], requires_grad=True)
        function(x).backward()
        np.testing.assert_array_equal(x.grad, [0])


def test_softplus_does_not_overflow() -> None:
    x = Tensor(np.array([-np.inf, -1000.0, -40.0, 1000.0, np.inf]), requires_grad=True)
    y = ops.softplus(x)
    np.testing.assert_allclose(y.data, [0, 0, np.exp(-40), 1000, np.inf])
    y.backward(np.ones(5))
    np.testing.assert_allclose(x.grad, [0, 0, np.exp(-40), 1, 1])


def test_sigmoid_does_not_overflow() -> None:
    x = Tensor(np.array([-1e30, 1e30], np.float32), requires_grad=True)
    y = ops.sigmoid(x)
    assert y.data.tolist() == [0, 1]
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_clip() -> None:
    x = np.array([-2.0, -0.5, 0.3, 5.0])
    np.testing.assert_array_equal(ops.clip(Tensor(x), -1, 1).data, np.clip(x, -1, 1))
    check_gradients(lambda t: ops.clip(t, -1, 1), x)
    check_gradients(lambda t: ops.clip(t, high=0.1), x)
    check_gradients(lambda t: ops.clip(t, low=0.1), x)
    edge = Tensor([1.0], requires_grad=True)
    ops.clip(edge, -1, 1).backward()
    np.testing.assert_array_equal(edge.grad, [1])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (-1, 0), ()])
@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_reductions(name: str, axis: Any, keepdims: bool) -> None:
    x = array(2, 3, 4)
    function = getattr(ops, name)
    y = function(Tensor(x), axis, keepdims)
    np.testing.assert_array_equal(y.data, getattr(np, name)(x, axis=axis, keepdims=keepdims))
    np.testing.assert_array_equal(getattr(Tensor(x), name)(axis, keepdims).data, y.data)
    check_gradients(lambda t: function(t, axis, keepdims), x)


def test_equal_maxima_share_the_gradient() -> None:
    x = Tensor([[1.0, 3.0, 3.0], [2.0, 0.0, np.nan]], requires_grad=True)
    x.max(axis=1).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [[0, 0.5, 0.5], [0, 0, 1]])


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis: int) -> None:
    x = array(2, 3, 4)
    y = ops.softmax(Tensor(x), axis)
    np.testing.assert_allclose(y.data.sum(axis), 1, rtol=1e-14)
    np.testing.assert_allclose(ops.log_softmax(Tensor(x), axis).data, np.log(y.data), rtol=1e-13)
    check_gradients(lambda t: ops.softmax(t, axis), x)
    check_gradients(lambda t: ops.log_softmax(t, axis), x)


def test_softmax_of_large_numbers() -> None:
    x = Tensor(np.array([1e30, 0, -1e30], np.float32))
    assert ops.softmax(x).data.tolist() == [1, 0, 0]
    assert ops.log_softmax(Tensor([1e300, 1e300])).data.tolist() == [-np.log(2)] * 2


def test_reshape_and_transpose() -> None:
    x = array(2, 3, 4)
    assert Tensor(x).reshape(6, -1).shape == (6, 4)
    assert Tensor(x).reshape((4, 6)).shape == (4, 6)
    assert Tensor(x).T.shape == (4, 3, 2)
    assert Tensor(x).transpose().shape == (4, 3, 2)
    np.testing.assert_array_equal(Tensor(x).transpose(1, -1, 0).data, x.transpose(1, 2, 0))
    check_gradients(lambda t: t.reshape(6, -1), x)
    check_gradients(lambda t: t.T, x)
    check_gradients(lambda t: t.transpose(1, -1, 0), x)


def array_like(values: list[int]) -> Any:
    """As a series of another library: what converts to an array and is none."""
    convert = {"__array__": lambda *_, **__: np.array(values), "__repr__": lambda _: "Series"}
    return type("Series", (), convert)()


INDICES: list[Any] = [
    0,
    -1,
    slice(1, None),
    slice(None, None, -2),
    (0, 1),
    (..., 2),
    (slice(None), None, 1),
    None,
    ...,
    (),
    np.array([0, 0, 1]),
    [1, 0, 1],
    (slice(None), np.array([[2, 2], [0, -1]])),
    (np.array([0, 1, 0]), np.array([2, 2, 2])),
    (np.array([1, 1]), slice(None), 0),
    np.int64(1),
    np.array([True, False]),
    array(2, 3, 4) > 0,
    np.array(1),
    True,
    [],
    np.zeros((2, 0), int),
    [[0, 0], [1, 0]],
    # what NumPy reads as an array, with an element that is taken twice
    ((0, 0), 1),
    (slice(None), range(2), (1, 1)),
    array_like([1, 1]),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_getitem(index: Any) -> None:
    x = array(2, 3, 4)
    np.testing.assert_array_equal(Tensor(x)[index].data, x[index])
    check_gradients(lambda t: t[index], x)


def test_getitem_keeps_its_own_indices() -> None:
    x, index = Tensor(array(3), requires_grad=True), np.array([0, 0])
    y = x[index]
    index[:] = 2
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 0])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate_and_stack(axis: int) -> None:
    a, b, c = array(2, 3), array(2, 3, seed=1), array(2, 3, seed=2)
    joined = ops.concatenate([Tensor(a), Tensor(b), Tensor(c)], axis)
    np.testing.assert_array_equal(joined.data, np.concatenate([a, b, c], axis))
    stacked = ops.stack([Tensor(a), Tensor(b), Tensor(c)], axis)
    np.testing.assert_array_equal(stacked.data, np.stack([a, b, c], axis))
    check_gradients(lambda *t: ops.concatenate(t, axis), a, b, c)
    check_gradients(lambda *t: ops.stack(t, axis), a, b, c)


def test_concatenate_different_lengths() -> None:
    check_gradients(lambda *t: ops.concatenate(t, 1), array(2, 3), array(2, 0), array(2, 1))


@pytest.mark.parametrize("function", [ops.concatenate, ops.stack])
def test_joining_refuses_mixed_dtypes(function: Callable[..., Tensor]) -> None:
    name = function.__name__
    with pytest.raises(TypeError, match=f"^{name}: input: expected float64, got float32$"):
        function([Tensor([1.0]), Tensor(np.ones(1, np.float32))])


def test_where() -> None:
    mask = np.array([[True], [False]])
    check_gradients(lambda a, b: ops.where(mask, a, b), array(2, 3), array(3))
    check_gradients(lambda a: ops.where(mask, a, 0), array(2, 3))
    check_gradients(lambda b: ops.where(mask, -1.5, b), array(2, 3))
    x = Tensor(np.ones(2, np.float32))
    assert ops.where(np.array([True, False]), x, 0).dtype == np.float32
    with pytest.raises(TypeError, match=r"^where: condition: expected booleans, got int64$"):
        ops.where(np.array([1, 0]), x, 0)
