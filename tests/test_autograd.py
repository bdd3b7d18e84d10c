"""The tensor, the graph and its walk."""

import gc
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Tensor, ops
from recurra.autograd import fused_node, is_recording, node
from recurra.graph import Node


def leaf(*values: float, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


class TestTensor:
    def test_it_shares_memory_and_knows_its_form(self) -> None:
        a = np.zeros((2, 3), np.float32)
        t = Tensor(a)
        assert t.data is a
        assert t.numpy() is a
        assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float32, 2)
        assert t.grad is None
        assert not t.requires_grad
        assert t.is_leaf

    @pytest.mark.parametrize("value", [[1, 2], np.zeros(2, np.float16), np.zeros(2, bool), "ab"])
    def test_only_float32_and_float64(self, value: object) -> None:
        got = np.asarray(value).dtype
        with raises(TypeError, f"Tensor: array: expected float32 or float64, got {got}"):
            Tensor(value)

    def test_repr(self) -> None:
        assert repr(leaf(1, 2)) == "Tensor([1. 2.], dtype=float64, requires_grad=True)"
        assert repr(Tensor(np.float32(3))) == "Tensor(3., dtype=float32)"

    def test_item(self) -> None:
        assert Tensor([[2.5]]).item() == 2.5
        assert float(Tensor(2.5)) == 2.5
        with raises(ValueError, "item: tensor: expected one element, got shape (2,)"):
            leaf(1, 2).item()

    def test_what_would_lose_a_gradient_is_refused(self) -> None:
        with raises(TypeError, "Tensor: expected an array, got a Tensor; its array is .data"):
            np.asarray(leaf(1))
        with pytest.raises(TypeError, match="does not support ufuncs"):
            np.exp(leaf(1))  # type: ignore[call-overload]
        with raises(
            TypeError, "Tensor: expected a truth value, got a Tensor; compare .data or .item()"
        ):
            bool(leaf(1))

    def test_detach_shares_memory_and_stops_gradients(self) -> None:
        x = leaf(1, 2)
        y = x * 3
        d = y.detach()
        assert d.data is y.data
        assert not d.requires_grad
        (x * d).sum().backward()
        np.testing.assert_array_equal(x.grad, [3, 6])

    def test_iteration(self) -> None:
        assert [row.data.tolist() for row in Tensor([[1.0, 2.0], [3.0, 4.0]])] == [[1, 2], [3, 4]]

    def test_data_keeps_shape_and_dtype(self) -> None:
        x = leaf(1, 2)
        with raises(TypeError, "Tensor: data: expected float64, got float32"):
            x.data = np.zeros(2, np.float32)
        with raises(ValueError, "Tensor: data: expected shape of the tensor = (2,), got (3,)"):
            x.data = np.zeros(3)
        x.data = np.array([5.0, 6.0])
        assert x.data.tolist() == [5, 6]


class TestDtypes:
    def test_numbers_take_the_dtype_of_the_tensor(self) -> None:
        x = leaf(1, 2, dtype=np.float32)
        for y in (x + 1, 1 - x, x * 2.5, 1 / x, x**2, 2**x, x + np.int64(3)):
            assert y.dtype == np.float32
        (1 / x).sum().backward()
        assert x.grad is not None
        assert x.grad.dtype == np.float32

    @pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "matmul"])
    def test_mixed_dtypes_are_refused(self, name: str) -> None:
        function = getattr(ops, name)
        x, y = leaf(1, dtype=np.float32), leaf(1)
        with raises(TypeError, f"{name}: b: expected float32, got float64"):
            function(x, y)
        with raises(TypeError, f"{name}: b: expected float32, got float64"):
            function(x, np.float64(1) * np.ones(1))
        with raises(TypeError, f"{name}: a: expected float32, got int64"):
            function(np.ones(1, np.int64), x)

    def test_a_numpy_scalar_has_a_dtype(self) -> None:
        with raises(TypeError, "mul: b: expected float32, got float64"):
            leaf(1, dtype=np.float32) * np.float64(2)

    def test_arrays_on_the_left(self) -> None:
        a, x = np.array([1.0, 2.0]), leaf(3, 4)
        assert isinstance(a - x, Tensor)
        assert (a - x).data.tolist() == [-2, -2]
        assert (a @ x).item() == 11


class TestBackward:
    def test_gradients_accumulate_into_leaves_only(self) -> None:
        x = leaf(1, 2)
        y = x * x
        y.sum().backward()
        np.testing.assert_array_equal(x.grad, [2, 4])
        (x * 3).sum().backward()
        np.testing.assert_array_equal(x.grad, [5, 7])
        assert y.grad is None
        x.zero_grad()
        assert x.grad is None

    def test_a_value_used_many_times_gets_every_gradient(self) -> None:
        x = leaf(3)
        y = x * x
        z = y * y + y * x + x  # x^4 + x^3 + x
        z.backward()
        np.testing.assert_array_equal(x.grad, [4 * 27 + 3 * 9 + 1])

    def test_leaf_gradients_share_no_memory(self) -> None:
        a, b = leaf(1, 2), leaf(3, 4)
        g = np.ones(2)
        (a + b).backward(g)
        assert a.grad is not None
        a.grad *= 5
        assert b.grad is not None
        assert b.grad.tolist() == [1, 1]
        assert g.tolist() == [1, 1]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_gradients_that_meet_are_added_where_nobody_else_looks(self, dtype: Any) -> None:
        x = Tensor(np.array(2, dtype), requires_grad=True)  # numbers without axes too
        (x * x * x + x.sum()).backward()
        assert isinstance(x.grad, np.ndarray)
        assert (x.grad, x.grad.dtype) == (13, dtype)
        w, upstream = Tensor(np.ones((3, 2), dtype), requires_grad=True), np.ones((4, 3), dtype)
        h = Tensor(np.ones((4, 2), dtype), requires_grad=True) * 2
        (recurra.layers.linear(h, w) + recurra.layers.linear(h, w)).backward(upstream)
        np.testing.assert_array_equal(w.grad, np.full((3, 2), 16))
        np.testing.assert_array_equal(upstream, np.ones((4, 3)))

    def test_leaf_gradients_are_contiguous(self) -> None:
        x = Tensor(np.ones((3, 2)), requires_grad=True)
        for _ in range(2):
            x.T.backward(np.ones((2, 3)))
            assert x.grad is not None
            assert x.grad.flags.c_contiguous

    def test_a_leaf_is_its_own_graph(self) -> None:
        x = leaf(2)
        x.backward()
        np.testing.assert_array_equal(x.grad, [1])

    def test_the_first_gradient(self) -> None:
        x = leaf(1, 2)
        text = (
            "backward: grad: expected an array of shape (2,), got None, "
            "which only a tensor with one element allows"
        )
        with raises(ValueError, text):
            (x * 2).backward()
        with raises(ValueError, "backward: grad: expected shape of the tensor = (2,), got (1,)"):
            (x * 2).backward(np.ones(1))
        with raises(TypeError, "backward: grad: expected float64, got float32"):
            (x * 2).backward(np.ones(2, np.float32))
        assert x.grad is None

    def test_nothing_to_do_is_an_error(self) -> None:
        text = "backward: tensor: expected one that requires grad, got one without"
        with raises(RuntimeError, text):
            Tensor([1.0]).backward()

    def test_a_graph_is_walked_once(self) -> None:
        x = leaf(2)
        y = x * x
        y.backward()
        text = (
            "backward: graph: expected one that was not walked yet, got a mul whose values were "
            "freed by an earlier backward; add the losses and call backward once, or detach() "
            "what is carried over (such as a recurrent state)"
        )
        with raises(RuntimeError, text):
            y.backward()
        with raises(RuntimeError, text):
            (y + x).backward()
        np.testing.assert_array_equal(x.grad, [4])

    def test_a_leaf_updated_since_is_refused(self) -> None:
        x, y = leaf(2), leaf(3)
        loss = x * y
        x.data[...] = 5
        x.mark_updated()
        text = (
            "backward: graph: expected a leaf of shape (1,) as the forward pass used it, "
            "got one updated since; call backward before the optimizer's step"
        )
        with raises(RuntimeError, text):
            loss.backward()
        assert y.grad is None

    def test_an_update_of_another_leaf_is_no_matter(self) -> None:
        x, other = leaf(2), leaf(3)
        loss = x * x
        other.mark_updated()
        loss.backward()
        np.testing.assert_array_equal(x.grad, [4])

    def test_a_refused_graph_loses_nothing(self) -> None:
        x, y = leaf(2), leaf(3)
        used = x * x
        used.backward()
        fresh = y * y
        with pytest.raises(RuntimeError, match="expected one that was not walked yet"):
            (fresh * 2 + used).backward()
        assert y.grad is None
        fresh.backward()
        np.testing.assert_array_equal(y.grad, [6])

    def test_what_needs_no_gradient_gets_none(self) -> None:
        x, c = leaf(2), Tensor([3.0])
        (x * c).backward()
        assert c.grad is None

    def test_memory_is_freed_on_the_way(self) -> None:
        def nodes() -> list[Node]:
            gc.collect()
            return [thing for thing in gc.get_objects() if isinstance(thing, Node)]

        others = nodes()  # which tests before have left
        x = leaf(*range(1000))
        y = x * 2
        z = (y * y).sum()
        z.backward()
        kept = [node for node in nodes() if node.sources and node not in others]
        assert kept == []


class TestDepth:
    def test_ten_thousand_steps(self) -> None:
        x, h = leaf(0.5), leaf(1.0)
        start = h
        for _ in range(10_000):
            h = h * 0.999 + x
        h.backward()
        np.testing.assert_allclose(start.grad, 0.999**10_000, rtol=1e-10)
        np.testing.assert_allclose(x.grad, (1 - 0.999**10_000) / 0.001, rtol=1e-10)

    def test_a_deep_graph_is_freed_without_backward(self) -> None:
        h = leaf(1.0)
        for _ in range(50_000):
            h = h + 1
        del h
        gc.collect()


class TestRecording:
    def test_no_grad_nests(self) -> None:
        x = leaf(1)
        with recurra.no_grad():
            with recurra.no_grad():
                assert not is_recording()
            assert not (x * 2).requires_grad
        assert (x * 2).requires_grad

    def test_an_error_inside_restores(self) -> None:
        with pytest.raises(KeyError), recurra.no_grad():
            raise KeyError
        assert is_recording()

    def test_as_a_decorator_also_of_itself(self) -> None:
        @recurra.no_grad()
        def down(n: int) -> bool:
            """Docs stay."""
            return is_recording() or (n > 0 and down(n - 1))

        assert not down(3)
        assert down.__doc__ == "Docs stay."
        assert is_recording()

    def test_a_generator_is_refused(self) -> None:
        def numbers() -> Any:
            yield 1

        with raises(
            TypeError, "no_grad: function: expected a plain function, got one that suspends"
        ):
            recurra.no_grad()(numbers)

    def test_it_is_for_its_thread_alone(self) -> None:
        seen: list[bool] = []
        with recurra.no_grad():
            thread = threading.Thread(target=lambda: seen.append(is_recording()))
            thread.start()
            thread.join()
        assert seen == [True]


class TestOwnNodes:
    def test_only_what_is_wanted_is_computed(self) -> None:
        def never(g: Any) -> Any:
            raise AssertionError

        x, c = leaf(2), Tensor([3.0])
        node("first", x.data * c.data, (x, lambda g: g * c.data), (c, never)).backward()
        np.testing.assert_array_equal(x.grad, [3])

    def test_several_outputs(self) -> None:
        calls: list[Any] = []

        def backward(*gradients: Any) -> list[Any]:
            calls.append(gradients)
            return [sum(g for g in gradients if g is not None)]

        x = leaf(1, 2)
        first, _second, third = fused_node("three", [x.data] * 3, [x], backward)
        (first * 2 + third * 3).sum().backward()
        np.testing.assert_array_equal(x.grad, [5, 5])
        assert len(calls) == 1
        assert calls[0][1] is None

    def test_an_input_that_was_not_given(self) -> None:
        x = leaf(1, 2)
        (out,) = fused_node("one", [x.data * 2], [x, None], lambda g: [g * 2, g])
        out.backward(np.ones(2))
        np.testing.assert_array_equal(x.grad, [2, 2])

    def test_leaves_keep_fresh_gradients_and_copy_others(self) -> None:
        made = [np.ones(2), np.ones(2)]
        x, y = leaf(1, 2), leaf(3, 4)
        for is_fresh in (True, False):
            x.zero_grad()
            (out,) = fused_node("sum", [x.data + y.data], [x, y], lambda g: made, is_fresh=is_fresh)
            out.backward(np.ones(2))
            assert (x.grad is made[0]) == is_fresh
            assert not np.shares_memory(x.grad, y.grad)
        np.testing.assert_array_equal(y.grad, [2, 2])
        np.testing.assert_array_equal(made, np.ones((2, 2)))

    def test_none_is_no_gradient(self) -> None:
        x, y = leaf(1), leaf(2)
        (out,) = fused_node("half", [x.data], [x, y * 1], lambda g: [g, None])
        out.backward()
        np.testing.assert_array_equal(x.grad, [1])
        assert y.grad is None

    @pytest.mark.parametrize(
        ("gradient", "got"),
        [
            (np.ones((1, 2)), "float64 (1, 2)"),
            (np.ones(2, np.float32), "float32 (2,)"),
        ],
    )
    def test_a_wrong_gradient_is_refused(self, gradient: Any, got: str) -> None:
        x = leaf(1, 2)
        y = node("mine", x.data, (x, lambda g: gradient))
        with raises(ValueError, f"mine: gradient of input 0: expected float64 (2,), got {got}"):
            y.sum().backward()
        assert x.grad is None

    def test_a_wrong_dtype_out_is_refused(self) -> None:
        x = leaf(1, dtype=np.float32)
        with raises(TypeError, "mine: output: expected float32, got float64"):
            node("mine", x.data.astype(np.float64), (x, lambda g: g))


def test_the_same_program_gives_the_same_bits() -> None:
    def gradient() -> Any:
        rng = np.random.default_rng(3)
        w = Tensor(rng.standard_normal((16, 16)), requires_grad=True)
        h = Tensor(rng.standard_normal((4, 16)))
        for _ in range(20):
            h = ops.tanh(h @ w + h * 0.1)
        (h * h).mean().backward()
        return w.grad

    assert gradient().tobytes() == gradient().tobytes()


@pytest.mark.parametrize("use", [lambda x: x + 1, lambda x: x[0], lambda x: x.sum()])
def test_frozen_tensors_record_nothing(use: Callable[[Tensor], Tensor]) -> None:
    result = use(Tensor([1.0, 2.0]))
    assert not result.requires_grad
    assert result.is_leaf
