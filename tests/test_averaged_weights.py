"""`AveragedWeights`: what is averaged when, validated, saved and left in the model."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra.train import (
    AveragedWeights,
    Callback,
    Checkpoints,
    EarlyStopping,
    evaluate,
    files,
    fit,
    load_model,
)
from training import Windows, bits, rows, tagger, timeless

CE = recurra.cross_entropy
KINDS: dict[str, Any] = {"ema": lambda m: recurra.EMA(m, decay=0.7), "swa": recurra.SWA}


class Watch(Callback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, np.ndarray]] = []
        self.epochs: list[int] = []

    def on_step_end(self, run: Any) -> None:
        self.seen.append(run.model.state_dict())
        self.epochs.append(run.epoch)


class Normalized(recurra.Module):
    """With running statistics."""

    def __init__(self) -> None:
        self.norm = recurra.BatchNorm(2)
        self.out = recurra.Linear(2, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.norm(x))


def run(kind: str, *callbacks: Callback, **kwargs: Any) -> tuple[Any, Any, AveragedWeights]:
    model, optimizer = tagger()
    options = {n: kwargs.pop(n) for n in ("every", "start_epoch") if n in kwargs}
    averaged = AveragedWeights(KINDS[kind](model), **options)
    settings: dict[str, Any] = {"epochs": 3, "validation": Windows(2)} | kwargs
    history = fit(model, Windows(), CE, optimizer, callbacks=[averaged, *callbacks], **settings)
    return model, history, averaged


def plain(kind: str, seen: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The average in float64."""
    mean = {name: value.astype(np.float64) for name, value in seen[0].items()}
    for count, values in enumerate(seen[1:], 1):
        weight = 0.3 if kind == "ema" else 1 / (count + 1)
        mean = {n: m + weight * (values[n] - m) for n, m in mean.items()}
    return mean


@pytest.mark.parametrize("kind", KINDS)
class TestAveragedWeights:
    @pytest.mark.parametrize("every", ["step", "epoch"])
    @pytest.mark.parametrize("start", [0, 1])
    def test_what_is_averaged(self, kind: str, every: str, start: int) -> None:
        watch = Watch()
        model, _, averaged = run(kind, watch, every=every, start_epoch=start)
        taken = [
            values
            for i, (values, epoch) in enumerate(zip(watch.seen, watch.epochs, strict=True), 1)
            if epoch >= start and (every == "step" or i % 6 == 0)
        ]
        assert averaged.average.count == len(taken)
        for name, wanted in plain(kind, taken).items():
            np.testing.assert_allclose(model.state_dict()[name], wanted, rtol=1e-5, atol=1e-6)

    def test_training_itself_is_the_same(self, kind: str) -> None:
        ends = []
        for callbacks in ([], [AveragedWeights]):
            model, optimizer = tagger()
            watch = Watch()
            made = [kind_of(KINDS[kind](model)) for kind_of in callbacks]
            fit(model, Windows(), CE, optimizer, epochs=2, validation=Windows(2),
                callbacks=[*made, watch])  # fmt: skip
            ends.append([{n: a.tobytes() for n, a in seen.items()} for seen in watch.seen])
        assert ends[0] == ends[1]

    def test_the_average_is_validated_and_left_in_the_model(self, kind: str) -> None:
        model, history, _ = run(kind)
        assert evaluate(model, Windows(2), CE)["loss"] == history["validation_loss"][-1]
        _, raw, _ = run(kind, start_epoch=99)
        assert history["loss"] == raw["loss"]
        assert history["validation_loss"] != raw["validation_loss"]

    def test_none_before_its_start(self, kind: str) -> None:
        model, optimizer = tagger()
        history = fit(model, Windows(), CE, optimizer, epochs=3, validation=Windows(2))
        other, late, _ = run(kind, start_epoch=3)
        assert timeless(late) == timeless(history)
        assert bits(other) == bits(model)

    @pytest.mark.parametrize("first", [True, False])
    def test_early_stopping_keeps_the_best_average(self, kind: str, first: bool) -> None:
        """Whichever callback comes first."""
        averages, scores = [], iter([3.0, 1.0, 2.0])

        class See(Callback):
            def on_epoch_end(self, run: Any, row: dict[str, Any]) -> None:
                row["score"] = next(scores)
                with run.as_validated():
                    averages.append(bits(run.model))

        model, optimizer = tagger()
        averaged = AveragedWeights(KINDS[kind](model))
        stopping = EarlyStopping(5, "score")
        callbacks = [See(), averaged, stopping] if first else [See(), stopping, averaged]
        fit(model, Windows(), CE, optimizer, epochs=3, validation=Windows(2), callbacks=callbacks)
        assert len(set(map(str, averages))) == 3
        assert bits(model) == averages[1]

    @pytest.mark.parametrize("stop", [4, 6, 9])
    @pytest.mark.parametrize("every", ["step", "epoch"])
    def test_it_goes_on_to_the_bit(self, kind: str, every: str, stop: int, tmp_path: Path) -> None:
        class Stop(Callback):
            def on_step_end(self, run: Any) -> None:
                if run.step == stop:
                    run.stop("enough")

        whole = run(kind, every=every)
        run(kind, Stop(), every=every, checkpoints=tmp_path)
        again = run(kind, every=every, checkpoints=tmp_path, resume=True)
        assert bits(again[0]) == bits(whole[0])
        assert timeless(again[1]) == timeless(whole[1])
        assert str(again[2].state_dict()) == str(whole[2].state_dict())

    def test_a_checkpoint_has_both(self, kind: str, tmp_path: Path) -> None:
        watch = Watch()
        model, history, _ = run(kind, watch, checkpoints=Checkpoints(tmp_path))
        last = tmp_path / "last.safetensors"
        raw = {name: array.tobytes() for name, array in load_model(last).items()}
        assert raw == {name: array.tobytes() for name, array in watch.seen[-1].items()}
        other, _ = tagger(seed=3)
        other.load_state_dict(load_model(last, averaged=True))
        assert bits(other) == bits(model)
        other.load_state_dict(load_model(tmp_path / "best.safetensors", averaged=True))
        best = evaluate(other, Windows(2), CE)["loss"]
        assert best == min(history["validation_loss"])

    def test_an_error_in_the_validation_leaves_the_trained_weights(self, kind: str) -> None:
        watch = Watch()
        x, y = rows(3, 4)
        with pytest.raises(IndexError, match="cross_entropy"):
            model, optimizer = tagger()
            averaged = AveragedWeights(KINDS[kind](model))
            fit(model, Windows(), CE, optimizer, validation=(x, y + 9),
                callbacks=[averaged, watch])  # fmt: skip
        assert bits(model) == {n: a.tobytes() for n, a in watch.seen[-1].items()}


@pytest.mark.parametrize("kind", ["EMA", "SWA"])
def test_running_statistics(kind: str) -> None:
    """With `use_buffers` they are averaged, validated and kept, too."""
    x, y = rows(12, 4)
    recurra.manual_seed(0)
    model = Normalized()
    averaged = AveragedWeights(getattr(recurra, kind)(model, use_buffers=True))
    optimizer = recurra.SGD(model.parameters(), 0.1)
    watch = Watch()
    kwargs: dict[str, Any] = {"epochs": 2, "batch_size": 4, "validation": (x, y)}
    history = fit(model, (x, y), CE, optimizer, callbacks=[averaged, watch], **kwargs)
    means = np.array([seen["norm.running_mean"] for seen in watch.seen], np.float64)
    if kind == "SWA":
        np.testing.assert_allclose(model.norm.running_mean.data, means.mean(0), rtol=1e-5)
    assert (model.norm.running_mean.data != watch.seen[-1]["norm.running_mean"]).all()
    found = evaluate(model, (x, y), CE, batch_size=4)
    assert found["loss"] == history["validation_loss"][-1]


def test_bad_arguments(tmp_path: Path) -> None:
    model, optimizer = tagger()
    with pytest.raises(
        TypeError, match="AveragedWeights: average: expected an EMA or SWA, got int"
    ):
        AveragedWeights(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="AveragedWeights: every: expected 'step' or 'epoch', got"):
        AveragedWeights(recurra.SWA(model), every="day")
    with pytest.raises(ValueError, match="AveragedWeights: start_epoch: expected an int >= 0, got"):
        AveragedWeights(recurra.SWA(model), start_epoch=-1)
    before = bits(model)
    other = AveragedWeights(recurra.SWA(recurra.Linear(1, 1)))
    with pytest.raises(ValueError, match="model: missing weight"):
        fit(model, Windows(), CE, optimizer, callbacks=[other], checkpoints=tmp_path)
    assert bits(model) == before
    fit(model, Windows(), CE, optimizer, checkpoints=tmp_path)
    last = tmp_path / "last.safetensors"
    text = (
        f"load_model: averaged: expected a checkpoint with averaged weights, got {last} with none"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        load_model(last, averaged=True)


def test_another_kind_is_not_gone_on_from(tmp_path: Path) -> None:
    run("ema", checkpoints=tmp_path)
    before = files.load(tmp_path / "last.safetensors")
    with pytest.raises(ValueError, match=r"SWA.load_state_dict: state: unexpected decay"):
        run("swa", checkpoints=tmp_path, resume=True, epochs=4)
    assert str(files.load(tmp_path / "last.safetensors")) == str(before)
