"""Buffers, training and evaluation, dropouts, padding index: what layers keep and draw."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Buffer, Module, Sequential, Tensor, checkpoint
from recurra.layers import dropout, embedding
from recurra.random import Generator
from tensor_gradients import array


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


class TestBuffer:
    def model(self) -> Sequential:
        return Sequential(recurra.Conv1d(3, 4, 2), recurra.BatchNorm(4), recurra.LayerNorm(4))

    def test_names(self) -> None:
        names = ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
        model = self.model()
        assert [name for name, _ in model.named_buffers()] == names
        assert [name for name in model.state_dict() if name not in names] == [
            name for name, _ in model.named_parameters()
        ]
        assert list(model.state_dict())[2:7] == ["1.weight", "1.bias", *names]
        assert model.num_parameters() == 3 * 4 * 2 + 4 + 8 + 8

    def test_a_shared_one_is_named_once(self) -> None:
        model = Sequential(recurra.BatchNorm(2), recurra.BatchNorm(2))
        model[1].running_mean = model[0].running_mean
        assert "1.running_mean" not in dict(model.named_buffers())
        assert "1.running_mean" in model.state_dict()

    def test_through_a_file(self, tmp_path: Path) -> None:
        model, other = self.model(), self.model()
        for _ in range(3):
            model(array(2, 5, 3).astype(np.float32))
        checkpoint.save(tmp_path / "m.safetensors", model.state_dict())
        other.load_state_dict(checkpoint.load(tmp_path / "m.safetensors")[0])
        for name, values in model.state_dict().items():
            assert other.state_dict()[name].tobytes() == values.tobytes()
        assert other.state_dict()["1.num_batches_tracked"] == 3
        x = array(2, 5, 3, seed=1).astype(np.float32)
        assert other.eval()(x).data.tobytes() == model.eval()(x).data.tobytes()

    def test_a_state_is_a_copy(self) -> None:
        layer = recurra.BatchNorm(2)
        state = layer.state_dict()
        layer(array(4, 2).astype(np.float32))
        assert not state["running_mean"].any()
        layer.load_state_dict(state)
        assert not layer.running_mean.data.any()
        state["running_mean"][:] = 1
        assert not layer.running_mean.data.any()

    def test_bad_states_change_nothing(self) -> None:
        layer = recurra.BatchNorm(2)
        before = layer.state_dict()
        bad = {"running_mean": ones(3), "num_batches_tracked": np.float64(1.5)}
        text = (
            "load_state_dict: state: running_mean: expected shape (2,), got (3,); "
            "num_batches_tracked: expected int64, got float64"
        )
        with raises(ValueError, text):
            layer.load_state_dict(before | bad, cast=True)
        for name, values in layer.state_dict().items():
            assert values.tobytes() == before[name].tobytes()

    def test_copies_are_independent(self) -> None:
        model = recurra.BatchNorm(2)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            other(array(4, 2).astype(np.float32))
            assert other.running_mean.data.any()
            assert not model.running_mean.data.any()

    @pytest.mark.parametrize("values", [np.zeros(2, np.int32), np.zeros(2, bool), ["a"]])
    def test_kinds_that_no_file_holds(self, values: Any) -> None:
        got = np.asarray(values).dtype
        with raises(TypeError, f"Buffer: array: expected float32 or float64, got {got}"):
            Buffer(values)

    def test_it_owns_its_array(self) -> None:
        values = np.zeros((2, 3)).T
        buffer = Buffer(values)
        assert not np.shares_memory(buffer.data, values)
        assert buffer.data.flags.c_contiguous
        assert (buffer.shape, buffer.dtype) == ((3, 2), np.float64)


class TestBatchNormStates:
    def test_running_averages(self) -> None:
        layer, x = recurra.BatchNorm(2, momentum=0.25, dtype=np.float64), array(6, 2)
        layer(x)
        np.testing.assert_allclose(layer.running_mean.data, 0.25 * x.mean(0), rtol=1e-14)
        expected = 0.75 + 0.25 * x.var(0, ddof=1)
        np.testing.assert_allclose(layer.running_var.data, expected, rtol=1e-14)

    def test_averages_of_all_batches(self) -> None:
        layer, x = recurra.BatchNorm(2, momentum=None, dtype=np.float64), array(5, 6, 2)
        for batch in x:
            layer(batch)
        expected = x.mean((0, 1)), x.var(1, ddof=1).mean(0)
        np.testing.assert_allclose(layer.running_mean.data, expected[0], rtol=1e-13)
        np.testing.assert_allclose(layer.running_var.data, expected[1], rtol=1e-13)

    def test_evaluation_changes_nothing(self) -> None:
        layer = recurra.BatchNorm(2).eval()
        before = layer.state_dict()
        np.testing.assert_allclose(layer(ones(1, 2)).data, 1, rtol=1e-5)
        assert not layer(ones(1, 3, 2), lengths=[0]).data.any()
        for name, values in layer.state_dict().items():
            assert values.tobytes() == before[name].tobytes()

    def test_without_running_averages(self) -> None:
        layer, x = recurra.BatchNorm(2, track_running_stats=False), array(4, 2).astype(np.float32)
        assert list(layer.state_dict()) == ["weight", "bias"]
        assert layer(x).data.tobytes() == layer.eval()(x).data.tobytes()

    def test_a_refused_batch_changes_nothing(self) -> None:
        layer = recurra.BatchNorm(2)
        text = "BatchNorm: x: expected at least two valid places for a variance, got 1"
        with raises(ValueError, text):
            layer(ones(2, 3, 2), lengths=[1, 0])
        assert layer.num_batches_tracked.data == 0

    def test_many_rows_in_float32(self) -> None:
        """Sums of thousands of rows keep their digits."""
        x = (array(200_000, 1) + 10).astype(np.float32)
        y = recurra.BatchNorm(1)(x)
        expected = (x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)
        np.testing.assert_allclose(y.data, expected, rtol=1e-4, atol=1e-5)


class TestDropouts:
    def test_one_mask_for_all_steps(self) -> None:
        recurra.manual_seed(0)
        y = recurra.VariationalDropout(0.5)(ones(4, 9, 16)).data
        assert (y == y[:, :1]).all()
        assert set(np.unique(y)) == {0, 2}
        assert (y[0] != y[1]).any()

    @pytest.mark.parametrize("shared", [(), (1,), (2,)])
    def test_a_row_does_not_see_the_batch(self, shared: tuple[int, ...]) -> None:
        def draw(rows: Any, *shape: int) -> np.ndarray:
            recurra.manual_seed(3)
            return dropout(Tensor(ones(*shape)), 0.5, shared, rows).data

        whole = draw(None, 4, 6, 8)
        assert (draw(None, 2, 6, 8) == whole[:2]).all()
        assert (draw(None, 4, 9, 8)[:, :6] == whole).all()
        assert (draw(None, 4, 1, 8) == whole[:, :1]).all()
        assert (draw(None, 4, 6, 8) != draw(None, 4, 6, 8)[::-1]).any()

    @pytest.mark.parametrize("layer", [recurra.Dropout(0.5), recurra.VariationalDropout(0.5)])
    def test_named_rows_do_not_see_their_order(self, layer: Any) -> None:
        def draw(rows: Any) -> np.ndarray:
            recurra.manual_seed(3)
            return layer(ones(len(rows), 5, 8), rows=rows).data

        names = np.array([7, 0, 2**62, 3])
        assert (draw(names[::-1]) == draw(names)[::-1]).all()
        assert (draw(names[1:3]) == draw(names)[1:3]).all()
        assert (draw([7, 7])[0] == draw([7, 7])[1]).all()

    def test_rows_are_places_in_the_stream(self) -> None:
        """Row r begins at block r * 2**64 of the stream, whatever was drawn before it."""
        mask = Generator(5).dropout_mask((3, 7), 0.5, np.float64, rows=[2, 0, 9])
        for row, number in zip(mask, [2, 0, 9], strict=True):
            counter = np.array([0, number, 0, 0], np.uint64)
            words = np.random.Philox(key=5, counter=counter).random_raw(7)
            assert (row == np.where(words >> np.uint64(11) >= 2**52, 2.0, 0.0)).all()
        flat = Generator(5).dropout_mask(7, 0.5, np.float64)
        assert (flat == mask[1]).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("p", [0, 1e-9, 0.1, 0.5, 0.9, 0.99999999])
    def test_masks_are_where_uniform_numbers_reach_p(self, p: float, dtype: Any) -> None:
        mask = Generator(1).dropout_mask(5000, p, dtype)
        assert ((mask != 0) == (Generator(1).uniform(5000, dtype=dtype) >= dtype(p))).all()

    def test_evaluation_changes_nothing(self) -> None:
        x = Tensor(ones(2, 3, 4))
        assert recurra.VariationalDropout(0.5).eval()(x) is x
        ids = np.array([[5, 6]])
        assert (recurra.WordDropout(0.9, unknown=1).eval()(ids) == ids).all()

    def test_words(self) -> None:
        recurra.manual_seed(0)
        ids = np.random.default_rng(0).integers(0, 5, (50, 40))
        layer = recurra.WordDropout(0.3, unknown=9, padding_idx=0)
        out = layer(ids)
        assert (out[ids == 0] == 0).all()
        assert set(np.unique(out[out != ids])) == {9}
        assert abs((out == 9).sum() / (ids != 0).sum() - 0.3) < 0.05
        recurra.manual_seed(0)
        assert (layer(ids[:, :7]) == out[:, :7]).all()
        recurra.manual_seed(0)
        assert (layer(ids[::-1], rows=range(49, -1, -1)) == out[::-1]).all()

    def test_words_keep_their_ids(self) -> None:
        ids = np.arange(10, dtype=np.uint8)
        assert recurra.WordDropout(0.5, unknown=0)(ids).dtype == np.int64
        assert ids.tolist() == list(range(10))

    def test_rows_of_an_embedding(self) -> None:
        recurra.manual_seed(0)
        layer, ids = recurra.Embedding(40, 3, dropout=0.5), np.arange(40).repeat(2)
        y = layer(ids).data.reshape(40, 2, 3)
        assert (y[:, 0] == y[:, 1]).all()
        gone = ~y.any((1, 2))
        assert 8 < gone.sum() < 32
        np.testing.assert_array_equal(y[~gone, 0], 2 * layer.weight.data[~gone])
        assert (layer.eval()(ids).data == layer.weight.data[ids]).all()


class TestPaddingIdx:
    @pytest.mark.parametrize(("given", "row"), [(0, 0), (4, 4), (-1, 4), (-5, 0)])
    def test_the_row_is_zero_and_stays(self, given: int, row: int) -> None:
        layer = recurra.Embedding(5, 3, padding_idx=given)
        assert layer.padding_idx == row
        assert not layer.weight.data[row].any()
        layer(np.arange(5)).sum().backward()
        assert layer.weight.grad is not None
        assert (layer.weight.grad == np.where(np.arange(5) == row, 0, 1)[:, None]).all()
        optimizer = recurra.SGD(layer.parameters(), lr=1)
        optimizer.step()
        assert not layer.weight.data[row].any()

    def test_values_loaded_for_it_are_used(self) -> None:
        w = Tensor(array(3, 2), requires_grad=True)
        assert (embedding([1], w, padding_idx=1).data == w.data[1]).all()

    def test_other_draws_do_not_change(self) -> None:
        def weights(**options: Any) -> np.ndarray:
            recurra.manual_seed(1)
            return recurra.Embedding(4, 3, **options).weight.data

        assert (weights(padding_idx=0)[1:] == weights()[1:]).all()


def test_repr() -> None:
    layers: list[Module] = [
        recurra.Embedding(5, 3, padding_idx=0, dropout=0.1),
        recurra.WordDropout(0.1, 1, 0),
        recurra.VariationalDropout(0.2),
        recurra.Conv1d(3, 6, 5, padding="same", groups=3, bias=False),
        recurra.MaxPool1d(2),
        recurra.AvgPool1d(3, 1, 1, False),
        recurra.BatchNorm(6, momentum=None),
        recurra.LayerNorm(6),
        recurra.GlobalPool1d("mean"),
        recurra.LuongAttention("concat", 2, 3, 4),
        recurra.MultiheadAttention(4, 2),
    ]
    assert [repr(layer).partition("\n")[0] for layer in layers] == [
        "Embedding(5, 3, padding_idx=0, dropout=0.1)",
        "WordDropout(0.1, unknown=1, padding_idx=0)",
        "VariationalDropout(0.2)",
        "Conv1d(3, 6, 5, padding='same', groups=3, bias=False)",
        "MaxPool1d(2)",
        "AvgPool1d(3, stride=1, padding=1, count_include_pad=False)",
        "BatchNorm(6, momentum=None)",
        "LayerNorm(6)",
        "GlobalPool1d('mean')",
        "LuongAttention('concat', 2, 3, 4)",
        "MultiheadAttention(4, 2",
    ]


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    x = Tensor(np.array([[[1.0], [2], [2], [2], [0], [0]]]), requires_grad=True)
    recurra.MaxPool1d(3)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.ravel().tolist() == [0, 1, 0, 1, 0, 0]


def test_an_empty_row_has_no_outputs_even_with_much_padding() -> None:
    layer = recurra.Conv1d(1, 1, 2, padding=3)
    assert layer.output_lengths([0, 1]).tolist() == [0, 6]
    y = layer(ones(2, 1, 1), lengths=[0, 1]).data
    assert not y[0].any()
    assert y[1].all()
