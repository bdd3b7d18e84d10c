"""What the core does to whole rows: softmax, normalization, products of attention. Its bits, and
where numbers end."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from bits import ISAS, assert_same_bits, forced_isa
from recurra import Tensor, _core, ops
from recurra.layers import layer_norm, scaled_dot_product_attention
from tensor_gradients import array

inf, nan = math.inf, math.nan
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LENGTHS = np.arange(24) * 3


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def norm(layer: Any, x: Tensor, **rest: Any) -> list[Tensor]:
    """The result of a layer whose weight is not one, and its parameters."""
    layer.weight.data[:] = np.linspace(0.5, 2, len(layer.weight.data))
    return [layer(x, **rest), *layer.parameters()]


def additive(dtype: Any, query: Tensor, key: Tensor) -> list[Tensor]:
    """Context and weights of a layer that starts the same each time, and its parameters."""
    recurra.manual_seed(1)
    layer = recurra.AdditiveAttention(131, 131, 37, dtype)
    return [*layer(query, key, lengths=LENGTHS), *layer.parameters()]


CALLS: dict[str, Callable[[Tensor, Any], list[Tensor]]] = {
    "softmax": lambda x, _: [ops.softmax(x)],
    "log_softmax": lambda x, _: [ops.log_softmax(x, 1)],
    "layer norm": lambda x, d: norm(recurra.LayerNorm(131, dtype=d), x),
    "batch norm": lambda x, d: norm(recurra.BatchNorm(131, dtype=d), x, lengths=LENGTHS),
    "batch norm in use": lambda x, d: norm(recurra.BatchNorm(131, dtype=d).eval(), x),
    "additive attention": lambda x, d: additive(d, x[:, :9], x),
    "attention": lambda x, _: list(scaled_dot_product_attention(x, x, x, LENGTHS, is_causal=True)),
}


@both_precisions
@pytest.mark.parametrize("name", CALLS)
def test_threads_and_instruction_sets_change_no_bit(name: str, dtype: Any) -> None:
    x = array(24, 90, 131).astype(dtype)  # worth several threads
    g = array(24, 90, 131, seed=1).astype(dtype)

    def results() -> dict[str, np.ndarray]:
        leaf = Tensor(x, requires_grad=True)
        first, *others = CALLS[name](leaf, dtype)
        first.backward(g[:, : first.shape[1]])
        out = {"y": first.data, "dx": leaf.grad}
        for i, tensor in enumerate(others):
            out |= {f"d{i}": tensor.grad} if tensor.grad is not None else {f"{i}": tensor.data}
        return {key: np.ascontiguousarray(value) for key, value in out.items()}

    with recurra.num_threads(1):
        expected = results()
    for threads in (1, 2, 3):
        with recurra.num_threads(threads):
            for isa in ISAS:
                with forced_isa(isa):
                    assert_same_bits(results(), expected)


@both_precisions
def test_the_bits_of_a_softmax_are_those_of_its_row_alone(dtype: Any) -> None:
    x = array(9, 41).astype(dtype)
    for function in (ops.softmax, ops.log_softmax):
        whole = function(Tensor(x)).data
        turned = function(Tensor(np.asfortranarray(x))).data
        columns = function(Tensor(x.T.copy()), 0).data
        assert np.ascontiguousarray(turned).tobytes() == whole.tobytes()
        assert np.ascontiguousarray(columns.T).tobytes() == whole.tobytes()
        assert function(Tensor(x[4])).data.tobytes() == whole[4].tobytes()


def test_softmax_where_numbers_end() -> None:
    x = Tensor([[inf, 0.0], [nan, 0.0], [-inf, -inf], [-inf, 0.0], [3.0, 3.0]])
    y, log_y = ops.softmax(x).data, ops.log_softmax(x).data
    np.testing.assert_array_equal(y, [[nan, nan]] * 3 + [[0, 1], [0.5, 0.5]])
    np.testing.assert_array_equal(log_y, [[nan, nan]] * 3 + [[-inf, 0], [-np.log(2)] * 2])


def test_softmax_of_one_element_and_of_none() -> None:
    for function, one in ((ops.softmax, 1.0), (ops.log_softmax, 0.0)):
        x = Tensor([[7.0], [-inf + 1e308]], requires_grad=True)
        y = function(x[:1])
        y.backward(np.ones((1, 1)))
        assert y.data.tolist() == [[one]]
        assert x.grad is not None
        assert x.grad.tolist() == [[0.0], [0.0]]
        assert function(Tensor(np.ones((0, 3)))).shape == (0, 3)
        assert function(Tensor(np.ones((3, 0))), 0).shape == (3, 0)
        assert function(Tensor(7.0)).data.tolist() == one
        name = function.__name__
        text = f"{name}: x: expected at least one element along the axis, got (3, 0)"
        with raises(ValueError, text):
            function(Tensor(np.ones((3, 0))))


def test_attention_to_scores_of_minus_infinity_is_zero() -> None:
    query, key = np.array([[[1.0]]]), np.array([[[-inf], [-inf]]])
    context, weights = scaled_dot_product_attention(query, key, np.ones((1, 2, 3)))
    assert not context.data.any()
    assert not weights.data.any()
    nothing = np.zeros((1, 0, 1))
    context, weights = scaled_dot_product_attention(query, nothing, np.zeros((1, 0, 3)))
    assert (context.shape, weights.shape) == ((1, 1, 3), (1, 1, 0))
    assert not context.data.any()


def test_layer_norm_where_numbers_end() -> None:
    x = np.array([[1.0, inf], [nan, 0.0], [5.0, 5.0], [1.0, 3.0]])
    y = layer_norm(x, eps=0).data
    np.testing.assert_array_equal(y, [[nan, nan]] * 3 + [[-1, 1]])
    assert layer_norm(x[2:3]).data.tolist() == [[0.0, 0.0]]
    assert layer_norm(np.array([[7.0]])).data.tolist() == [[0.0]]
    assert layer_norm(np.ones((2, 0, 3))).shape == (2, 0, 3)


def test_large_rows_in_single_precision_stay_exact() -> None:
    x = (array(2, 300_001) + 100).astype(np.float32)
    wide = x.astype(np.float64)
    y, log_y = ops.softmax(Tensor(x)).data, ops.log_softmax(Tensor(x)).data
    np.testing.assert_allclose(y, ops.softmax(Tensor(wide)).data, rtol=3e-6)
    np.testing.assert_allclose(log_y, ops.log_softmax(Tensor(wide)).data, rtol=3e-7)
    np.testing.assert_allclose(layer_norm(x).data, layer_norm(wide).data, atol=3e-5)


def test_sums_over_many_rows_in_single_precision_stay_exact() -> None:
    x = (array(200_003, 2) + 10).astype(np.float32)
    single, double = recurra.BatchNorm(2), recurra.BatchNorm(2, dtype=np.float64)
    for layer, inputs in ((single, x), (double, x.astype(np.float64))):
        leaf = Tensor(inputs, requires_grad=True)
        layer(leaf).backward(inputs)
    for a, b in ((single.running_mean, double.running_mean), (single.bias.grad, double.bias.grad)):
        np.testing.assert_allclose(np.asarray(getattr(a, "data", a)), getattr(b, "data", b), 3e-7)
    np.testing.assert_allclose(single.weight.grad, double.weight.grad, rtol=3e-5)


def test_the_core_refuses_what_does_not_fit() -> None:
    x = np.ones((2, 3, 4))
    text = 'softmax_forward: form: expected "softmax", "log_softmax" or "attention", got "hard"'
    with raises(ValueError, text):
        _core.softmax_forward("hard", x)  # type: ignore[arg-type]
    with raises(TypeError, "softmax_forward: mask: expected booleans, got dtype int64"):
        _core.softmax_forward("attention", x, np.ones((2, 3, 4), int))
    text = "softmax_forward: mask: expected booleans, got a byte 2"
    with raises(ValueError, text):
        _core.softmax_forward("attention", x, np.broadcast_to(np.uint8(2), x.shape).view(bool))
    with raises(TypeError, "softmax_backward: dy: expected dtype float64 as y has, got float32"):
        _core.softmax_backward("softmax", x, x.astype(np.float32))
    text = "layer_norm_backward: mean: expected shape (N,) = (3,), got (2,)"
    with raises(ValueError, text):
        _core.layer_norm_backward(x[0], None, np.ones(2), np.ones(3), x[0])
    text = "batch_norm_statistics: valid: expected shape (N,) = (3,), got (2,)"
    with raises(ValueError, text):
        _core.batch_norm_statistics(x[0], np.ones(2, bool))
    text = "additive_forward: key: expected shape (B, K, H) = (2, 3, 4), got (1, 3, 4)"
    with raises(ValueError, text):
        _core.additive_forward(x, x[:1], np.ones(4))
    text = "linear_forward_each: w: expected shape (B, O, I) = (2, 3, 4), got (1, 3, 4)"
    with raises(ValueError, text):
        _core.linear_forward_each(x, x[:1])
