"""Averages of weights: PyTorch's numbers, swapping, saved states, refusals."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from bits import ISAS, forced_isa
from optimizers import GOLDEN
from recurra.data import Batch
from recurra.train import update_bn
from training import Given, bits

AVERAGES: dict[str, Any] = {"ema": lambda m: recurra.EMA(m, decay=0.9), "swa": recurra.SWA}


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def model_of(values: Any) -> recurra.Linear:
    model = recurra.Linear(5, 1, dtype=np.float64)
    model.weight.data[...] = values
    return model


@pytest.mark.parametrize("name", AVERAGES)
class TestAverages:
    def test_golden(self, name: str) -> None:
        model = model_of(0)
        average = AVERAGES[name](model)
        for values, expected in zip(
            GOLDEN[f"{name}/values"], GOLDEN[f"{name}/average"], strict=True
        ):
            model.weight.data[...] = values
            average.update(model)
            with average.applied(model):
                np.testing.assert_allclose(model.weight.data[0], expected, rtol=0, atol=1e-15)
            np.testing.assert_array_equal(model.weight.data[0], values)

    def test_it_goes_on_as_if_never_stopped(self, name: str) -> None:
        for k in range(5):
            whole, resumed = AVERAGES[name](model_of(0)), AVERAGES[name](model_of(0))
            for values in GOLDEN[f"{name}/values"][:k]:
                whole.update(model_of(values))
            resumed.load_state_dict(whole.state_dict())
            for values in GOLDEN[f"{name}/values"][k:]:
                whole.update(model := model_of(values))
                resumed.update(model)
            got, expected = resumed.state_dict(), whole.state_dict()
            assert list(got) == list(expected)
            for key, array in got.items():
                if "bias" not in key:  # drawn anew in each model
                    assert array.tobytes() == expected[key].tobytes()

    def test_the_state_is_a_copy(self, name: str) -> None:
        average = AVERAGES[name](model_of(1))
        state = average.state_dict()
        average.update(model_of(2))
        assert (state["average.weight"] == 1).all()
        average.load_state_dict(state)
        state["average.weight"][...] = 7
        assert (average.state_dict()["average.weight"] == 1).all()

    def test_swapping_back_after_an_error(self, name: str) -> None:
        model = model_of(1)
        average = AVERAGES[name](model)
        average.update(model)
        model.weight.data[...] = 2
        with pytest.raises(KeyError), average.applied(model):
            assert (model.weight.data == 1).all()
            raise KeyError
        assert (model.weight.data == 2).all()
        average.update(model)

    def test_updates_inside_the_block_are_refused(self, name: str) -> None:
        model = model_of(1)
        average = AVERAGES[name](model)
        kind = type(average).__name__
        for act in (average.update, average.copy_to, lambda m: average.applied(m).__enter__()):
            with pytest.raises(RuntimeError, match="outside of `applied`"), average.applied(model):
                act(model)
        text = (
            f"{kind}.applied: model: expected no updates inside the block, got one of weight, "
            "which is lost"
        )
        with raises(RuntimeError, text), average.applied(model):
            model.weight.mark_updated()
        assert (model.weight.data == 1).all()

    def test_another_model_is_refused(self, name: str) -> None:
        average = AVERAGES[name](model_of(1))
        kind = type(average).__name__
        other = recurra.Linear(4, 1, bias=False, dtype=np.float64)
        text = (
            f"{kind}.update: model: missing bias; "
            "weight: expected float64 (1, 5), got float64 (1, 4)"
        )
        with raises(ValueError, text):
            average.update(other)
        assert average.count == 0

    def test_graphs_made_before_a_swap_are_stale(self, name: str) -> None:
        model = model_of(1)
        average = AVERAGES[name](model)
        loss = model(np.ones((1, 5))).sum()
        with average.applied(model):
            pass
        with pytest.raises(RuntimeError, match="updated since"):
            loss.backward()

    @pytest.mark.parametrize("isa", ISAS)
    def test_threads_and_instruction_sets_change_no_bit(self, name: str, isa: str) -> None:
        def run(n_threads: int) -> bytes:
            rng = np.random.default_rng(0)
            model = recurra.Linear(600, 500)
            average = AVERAGES[name](model)
            with recurra.num_threads(n_threads):
                for _ in range(3):
                    model.weight.data[...] = rng.normal(size=(500, 600))
                    average.update(model)
            return average.state_dict()["average.weight"].tobytes()

        expected = run(1)
        with forced_isa(isa):
            assert all(run(n) == expected for n in (1, 2, 3))


BUFFERED = np.load(Path(__file__).parent / "golden" / "torch_averages.npz")
CASES = ["ema", "ema_buffers", "swa", "swa_buffers"]


def normalized() -> recurra.Sequential:
    double = {"dtype": np.float64}
    model = recurra.Sequential(
        recurra.Linear(3, 4, **double), recurra.BatchNorm(4, **double),
        recurra.Linear(4, 1, **double),
    )  # fmt: skip
    start = {n: BUFFERED[f"start/{n}"] for n, _ in model.named_parameters()}
    model.load_state_dict(start, strict=False)
    return model


@pytest.mark.parametrize("case", CASES)
class TestBuffers:
    def trained(self, case: str) -> Any:
        """The model, its average, and the average's values after each step."""
        model, seen = normalized(), []
        kind, _, buffers = case.partition("_")
        options = {"decay": 0.9} if kind == "ema" else {}
        average = getattr(recurra, kind.upper())(model, use_buffers=bool(buffers), **options)
        optimizer = recurra.SGD(model.parameters(), lr=0.1)
        for x, targets in zip(BUFFERED["x"], BUFFERED["targets"], strict=True):
            optimizer.zero_grad()
            recurra.mse(model(x), targets).backward()
            optimizer.step()
            average.update(model)
            with average.applied(model):
                seen.append(model.state_dict())
        return model, average, seen

    def test_golden(self, case: str) -> None:
        _, _, seen = self.trained(case)
        names = [name for name in seen[0] if name != "1.num_batches_tracked"]
        for name in names:
            wanted, got = BUFFERED[f"{case}/{name}"], np.stack([s[name] for s in seen])
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12, err_msg=name)
        assert [int(state["1.num_batches_tracked"]) for state in seen] == [1, 2, 3, 4, 5, 6]

    def test_statistics_of_averaged_weights(self, case: str) -> None:
        model, average, _ = self.trained(case)
        average.copy_to(model)
        momentum = model[1].momentum
        update_bn(model, Given(*[Batch(x, x) for x in BUFFERED["x"]]))
        for name in ("running_mean", "running_var"):
            wanted = BUFFERED[f"{case}/update_bn/1.{name}"]
            np.testing.assert_allclose(getattr(model[1], name).data, wanted, rtol=1e-12)
        assert (model[1].momentum, int(model[1].num_batches_tracked.data)) == (momentum, 6)
        y = model.eval()(BUFFERED["x"].reshape(-1, 3)).data
        np.testing.assert_allclose(y, BUFFERED[f"{case}/y"], rtol=1e-11, atol=1e-12)

    def test_statistics_inside_the_block(self, case: str) -> None:
        """Those that are swapped come back; taking new ones there would lose them."""
        model, average, _ = self.trained(case)
        before = bits(model)
        with average.applied(model):
            model.eval()(BUFFERED["x"][0])
            model.train()
        assert bits(model) == before
        if not average.use_buffers:
            return
        text = "got one of 1.running_mean, 1.running_var, 1.num_batches_tracked, which is lost"
        with pytest.raises(RuntimeError, match=text), average.applied(model):
            model(BUFFERED["x"][0])
        assert bits(model) == before

    def test_it_goes_on_as_if_never_stopped(self, case: str) -> None:
        model, average, _ = self.trained(case)
        state = average.state_dict()
        again = type(average)(normalized(), **({"decay": 0.9} if "ema" in case else {}),
                              use_buffers=average.use_buffers)  # fmt: skip
        again.load_state_dict(state)
        for one in (average, again):
            one.update(model)
        assert str(again.state_dict()) == str(average.state_dict())

    def test_a_state_without_buffers_is_refused(self, case: str) -> None:
        _, average, _ = self.trained(case)
        options = {"decay": 0.9} if "ema" in case else {}
        other = type(average)(normalized(), **options, use_buffers=not average.use_buffers)
        verb = "unexpected" if average.use_buffers else "missing"
        with pytest.raises(ValueError, match=rf"{verb} average.1.running_mean"):
            other.load_state_dict(average.state_dict())


def test_statistics_stay_after_an_error() -> None:
    model = normalized()
    model(BUFFERED["x"][0])
    before = bits(model)
    batches = Given(Batch(BUFFERED["x"][0], None), Batch(BUFFERED["x"][0][:1], None))
    with pytest.raises(ValueError, match="expected at least two valid places") as caught:
        update_bn(model, batches)
    assert caught.value.__notes__ == ["update_bn: batch 2"]
    assert (bits(model), model[1].momentum, model.training) == (before, 0.1, True)
    with pytest.raises(TypeError, match="model: expected a Module, got int"):
        update_bn(3, batches)  # type: ignore[arg-type]


def test_a_shared_parameter_has_all_its_names() -> None:
    class Tied(recurra.Module):
        def __init__(self) -> None:
            self.a = recurra.Linear(2, 2)
            self.b = self.a

    average = recurra.EMA(model := Tied())
    average.update(model)
    names = {name.removeprefix("average.") for name in average.state_dict()}
    assert names - {"count", "decay"} == set(model.state_dict())


def test_bad_arguments() -> None:
    with raises(ValueError, "EMA: decay: expected 0 <= decay < 1, got 1"):
        recurra.EMA(model_of(0), decay=1)
    state = recurra.EMA(model_of(0), decay=0.5).state_dict()
    text = "EMA.load_state_dict: state: decay: expected 0.9 as this one has, got 0.5"
    average = recurra.EMA(model_of(0), decay=0.9)
    with raises(ValueError, text):
        average.load_state_dict(state)
    with pytest.raises(ValueError, match=r"missing decay"):
        average.load_state_dict(recurra.SWA(model_of(0)).state_dict())
    text = "EMA.load_state_dict: state: count: expected a number from 0 on, got -1"
    with raises(ValueError, text):
        average.load_state_dict(average.state_dict() | {"count": np.array(-1)})
