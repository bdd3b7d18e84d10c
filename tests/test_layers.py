"""Embedding, Linear, Dropout, and modules made of them."""

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Module, Parameter, Sequential, Tensor
from recurra.layers import embedding, linear
from tensor_gradients import array, check_gradients


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


class TestEmbedding:
    def test_it_looks_up_rows(self) -> None:
        layer = recurra.Embedding(5, 3)
        ids = np.array([[4, 0], [1, 1]], np.uint8)
        np.testing.assert_array_equal(layer(ids).data, layer.weight.data[ids])
        assert layer([1, 2]).shape == (2, 3)
        assert layer(3).shape == (3,)
        assert layer(np.zeros((0, 2), int)).shape == (0, 2, 3)

    def test_gradient(self) -> None:
        ids = np.array([[0, 2, 2], [4, 0, 2]])
        check_gradients(lambda w: embedding(ids, w), array(5, 3))

    def test_a_frozen_table(self) -> None:
        assert not embedding([0], Tensor(array(5, 3))).requires_grad

    @pytest.mark.parametrize(
        ("ids", "kind", "text"),
        [
            ([[0, 5]], IndexError, "expected 0 <= id < 5, got 5 at (0, 1)"),
            ([0, -1], IndexError, "expected 0 <= id < 5, got -1 at (1,)"),
            (np.uint64([2**63]), IndexError, f"expected 0 <= id < 5, got {2**63} at (0,)"),
            ([0.0], TypeError, "expected integers, got float64"),
            ([True], TypeError, "expected integers, got bool"),
        ],
    )
    def test_bad_ids(self, ids: object, kind: type[Exception], text: str) -> None:
        with raises(kind, f"embedding: ids: {text}"):
            recurra.Embedding(5, 3)(ids)

    def test_initial_values_are_normal(self) -> None:
        recurra.manual_seed(1)
        w = recurra.Embedding(200, 100, dtype=np.float64).weight.data
        assert abs(w.mean()) < 0.02
        assert abs(w.std() - 1) < 0.02


class TestLinear:
    @pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,), (2, 0, 3)])
    def test_any_leading_axes(self, lead: tuple[int, ...]) -> None:
        layer, x = recurra.Linear(5, 2, dtype=np.float64), array(*lead, 5)
        assert layer.bias is not None
        expected = x @ layer.weight.data.T + layer.bias.data
        np.testing.assert_allclose(layer(x).data, expected, rtol=1e-13)

    @pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,)])
    def test_gradients(self, lead: tuple[int, ...]) -> None:
        x, w, b = array(*lead, 5), array(2, 5), array(2)
        check_gradients(linear, x, w, b)
        check_gradients(linear, x, w)
        check_gradients(lambda w, b: linear(x, w, b), w, b)

    def test_strides_and_unwanted_gradients_change_no_bit(self) -> None:
        layer, x, g = recurra.Linear(5, 2, dtype=np.float64), array(4, 3, 10), array(2, 3, 4).T
        found = []
        for a in (Tensor(x[..., ::2], requires_grad=True), x[..., ::2].copy()):
            layer.zero_grad()
            y = layer(a)
            y.backward(g)
            assert layer.bias is not None
            found.append([y.data, layer.weight.grad, layer.bias.grad])
        for strided, plain in zip(*found, strict=True):
            np.testing.assert_array_equal(strided, plain)

    def test_without_bias(self) -> None:
        layer = recurra.Linear(3, 2, bias=False)
        assert layer.bias is None
        assert list(layer.state_dict()) == ["weight"]

    def test_bad_input(self) -> None:
        layer = recurra.Linear(3, 2)
        text = "linear: x: expected shape (..., I) = (..., 3), got (2, 4)"
        with raises(ValueError, text):
            layer(np.zeros((2, 4), np.float32))
        with raises(ValueError, "linear: x: expected shape (..., I) = (..., 3), got ()"):
            layer(np.float32(1))
        with raises(TypeError, "linear: x: expected float32, got float64"):
            layer(np.zeros((2, 3)))

    def test_initial_values_are_within_the_bound(self) -> None:
        recurra.manual_seed(1)
        layer = recurra.Linear(25, 400)
        assert layer.bias is not None
        for parameter in (layer.weight, layer.bias):
            assert 0.19 < abs(parameter.data).max() <= 0.2


class TestDropout:
    def test_it_zeroes_and_scales(self) -> None:
        recurra.manual_seed(3)
        x = Tensor(np.ones((100, 100)), requires_grad=True)
        y = recurra.Dropout(0.25)(x)
        assert set(np.unique(y.data)) == {0, 1 / 0.75}
        assert abs((y.data == 0).mean() - 0.25) < 0.02
        y.sum().backward()
        np.testing.assert_array_equal(x.grad, y.data)

    def test_eval_changes_nothing(self) -> None:
        x = Tensor(array(3))
        assert recurra.Dropout(0.5).eval()(x) is x

    @pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
    def test_bad_probability(self, p: float) -> None:
        with raises(ValueError, f"Dropout: p: expected 0 <= p < 1, got {p}"):
            recurra.Dropout(p)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (
            lambda: recurra.Linear(0, 2),
            ValueError,
            "Linear: in_features: expected an int >= 1, got 0",
        ),
        (
            lambda: recurra.Linear(2, 1.5),
            TypeError,
            "Linear: out_features: expected an int, got float",
        ),
        (
            lambda: recurra.Embedding(True, 2),
            TypeError,
            "Embedding: num_embeddings: expected an int, got bool",
        ),
        (
            lambda: recurra.Linear(2, 2, dtype=np.float16),
            TypeError,
            "Linear: dtype: expected float32 or float64, got float16",
        ),
    ],
)
def test_bad_sizes(make: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        make()


class Tree(Module):
    """Parameters and modules in every place they may be."""

    def __init__(self) -> None:
        self.first = recurra.Linear(2, 3)
        self.layers = [recurra.Linear(3, 3), (recurra.Linear(3, 1, bias=False),)]
        self.scale = Parameter(np.ones(1, np.float32))
        self.by_name = {"a": recurra.Embedding(2, 2), "b": Parameter(np.zeros(2, np.float32))}
        self.again = self.first
        self.parent = self
        self.number = 3

    def forward(self, x: Any) -> Tensor:
        return self.first(x) * self.scale


NAMES = [
    "scale",
    "by_name.b",
    "first.weight",
    "first.bias",
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.0.weight",
    "by_name.a.weight",
]


class TestModule:
    def test_names(self) -> None:
        assert [name for name, _ in Tree().named_parameters()] == NAMES
        assert list(Tree().state_dict()) == [*NAMES, "again.weight", "again.bias"]
        assert Tree().num_parameters() == 1 + 2 + 9 + 12 + 3 + 4

    def test_shared_parameters_have_all_their_names_in_the_state(self) -> None:
        model = Sequential(recurra.Linear(2, 2), recurra.Linear(2, 2))
        model[1].weight = model[0].weight
        assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
        state = model.state_dict()
        assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
        model.load_state_dict(state)
        state["1.weight"] = state["1.weight"] + 1
        text = (
            "load_state_dict: state: 0.weight and 1.weight are one parameter: "
            "expected equal arrays, got different ones"
        )
        with raises(ValueError, text):
            model.load_state_dict(state)

    def test_train_and_eval_reach_every_module(self) -> None:
        model = Sequential(recurra.Dropout(), Sequential(recurra.Dropout()))
        assert model.training
        assert model.eval() is model
        assert [m.training for _, m in model.named_modules()] == [False] * 4
        assert model.train()[1][0].training

    def test_zero_grad(self) -> None:
        model = Tree()
        model(np.ones((1, 2), np.float32)).sum().backward()
        assert model.scale.grad is not None
        model.zero_grad()
        assert all(p.grad is None for p in model.parameters())

    def test_repr(self) -> None:
        model = Sequential(recurra.Embedding(5, 3), recurra.LSTM(3, 4), recurra.Dropout(0.5))
        assert repr(Sequential(model, recurra.Linear(4, 5, bias=False))) == (
            "Sequential(\n"
            "  0: Sequential(\n"
            "    0: Embedding(5, 3)\n"
            "    1: LSTM(3, 4)\n"
            "    2: Dropout(0.5)\n"
            "  )\n"
            "  1: Linear(4, 5, bias=False)\n"
            ")"
        )

    def test_repr_of_a_module_in_itself(self) -> None:
        assert "  parent: ...\n" in repr(Tree())

    def test_a_copy_is_independent(self) -> None:
        model = recurra.GRU(2, 3)
        other = copy.deepcopy(model)
        other.weight_ih_l0.data[...] = 0
        assert model.weight_ih_l0.data.any()

    def test_a_module_can_be_pickled(self) -> None:
        model = Sequential(recurra.GRU(2, 3), recurra.Linear(3, 1))
        other = pickle.loads(pickle.dumps(model))
        x = np.ones((1, 4, 2), np.float32)
        assert other(x).data.tobytes() == model(x).data.tobytes()

    def test_a_parameter_copies_its_array(self) -> None:
        a = np.zeros((2, 3)).T
        p = Parameter(a)
        assert not np.shares_memory(p.data, a)
        assert p.data.flags.c_contiguous


class TestStateDict:
    def test_round_trip(self) -> None:
        recurra.manual_seed(0)
        model = Tree()
        recurra.manual_seed(1)
        other = Tree()
        state = model.state_dict()
        assert other.load_state_dict(state) == ([], [])
        for name, array_ in other.state_dict().items():
            np.testing.assert_array_equal(array_, state[name])
        state["scale"][:] = 7
        assert model.scale.item() == 1
        assert other.scale.item() == 1

    def test_all_faults_are_told_and_nothing_is_written(self) -> None:
        model = recurra.Linear(2, 3)
        before = model.state_dict()
        state = {"weight": np.zeros((3, 3), np.float64), "gain": np.zeros(1, np.float32)}
        text = (
            "load_state_dict: state: missing bias; unexpected gain; "
            "weight: expected shape (3, 2), got (3, 3); "
            "weight: expected float32, got float64 (cast=True converts)"
        )
        with raises(ValueError, text):
            model.load_state_dict(state)
        assert model.state_dict()["weight"].tobytes() == before["weight"].tobytes()

    def test_not_strict_returns_what_it_left_alone(self) -> None:
        model = recurra.Linear(2, 3)
        bias = model.state_dict()["bias"]
        state = {"weight": np.ones((3, 2), np.float32), "gain": np.zeros(1, np.float32)}
        report = model.load_state_dict(state, strict=False)
        assert report.missing == ["bias"]
        assert report.unexpected == ["gain"]
        assert model.state_dict()["weight"].tolist() == [[1, 1]] * 3
        assert model.state_dict()["bias"].tobytes() == bias.tobytes()
        state["weight"] = np.ones((2, 2), np.float32)
        with pytest.raises(
            ValueError, match=re.escape("weight: expected shape (3, 2), got (2, 2)")
        ):
            model.load_state_dict(state, strict=False)

    def test_cast(self) -> None:
        model = recurra.Linear(2, 1, bias=False)
        model.load_state_dict({"weight": np.array([[0.1, 2.0]])}, cast=True)
        np.testing.assert_array_equal(model.weight.data, np.float32([[0.1, 2]]))
        text = "load_state_dict: state: weight: expected float32, got complex128"
        with raises(ValueError, text):
            model.load_state_dict({"weight": np.ones((1, 2), complex)}, cast=True)

    def test_an_array_too_large_to_cast_changes_nothing(self) -> None:
        model = recurra.Linear(1, 1)
        before = model.state_dict()
        with pytest.raises(RuntimeWarning, match="overflow"):
            model.load_state_dict({"weight": [[1.0]], "bias": [1e300]}, cast=True)
        assert model.state_dict()["weight"].tobytes() == before["weight"].tobytes()

    def test_a_graph_from_before_is_refused(self) -> None:
        model = recurra.Linear(1, 1)
        loss = model(np.ones((1, 1), np.float32))
        model.load_state_dict(model.state_dict())
        with pytest.raises(RuntimeError, match="updated since"):
            loss.backward()


class TestSequential:
    def test_y_of_a_recurrent_layer_goes_on(self) -> None:
        model = Sequential(recurra.Embedding(5, 3), recurra.LSTM(3, 4), recurra.Linear(4, 2))
        assert model(np.zeros((2, 6), int)).shape == (2, 6, 2)

    def test_the_last_result_is_whole(self) -> None:
        y, (h, _c) = Sequential(recurra.Embedding(5, 3), recurra.LSTM(3, 4))(np.zeros((2, 6), int))
        assert y.shape == (2, 6, 4)
        assert h.shape == (1, 2, 4)

    def test_a_subclass_may_have_parameters_of_its_own(self) -> None:
        class Scaled(Sequential):
            def __init__(self) -> None:
                super().__init__(recurra.Linear(2, 1, bias=False))
                self.scale = Parameter(np.ones(1))

        assert list(Scaled().state_dict()) == ["scale", "0.weight"]

    def test_it_is_a_sequence(self) -> None:
        layer = recurra.Linear(1, 1)
        model = Sequential(layer, recurra.ops.tanh)
        assert len(model) == 2
        assert model[0] is layer
