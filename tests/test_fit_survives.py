"""Bad data and settings in the middle of a training: the exact error, and what stays.

The last good checkpoint stays whole: from it, with what was bad made good, the training ends with
the bits of one in which nothing was bad.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import metrics
from recurra.data import Batch
from recurra.train import Callback, Checkpoints, evaluate, files, fit
from training import Given, Windows, bits, rows, tagger, timeless

CE = recurra.cross_entropy
AT = "fit: in epoch 2, batch 4"
WHERE = "in step 10 (epoch 2, batch 4); it arose in"


def put(array: Any, value: float) -> Any:
    """With `value` at (1, 2)."""
    array = array.copy()
    array[1, 2] = value
    return array


class Spoiled(Windows):
    """The fourth batch of the second epoch is made bad."""

    def __init__(self, spoil: Callable[[Batch], Any]) -> None:
        super().__init__()
        self.spoil = spoil

    def epoch(self, number: int) -> Iterator[Batch]:
        for i, batch in enumerate(super().epoch(number)):
            yield self.spoil(batch) if (number, i) == (1, 3) else batch


def failing(_: Batch) -> Any:
    raise OSError("the disk is gone")


DATA: dict[str, tuple[Callable[[Batch], Any], type[Exception], str, list[str]]] = {
    "NaN in inputs": (
        lambda b: b._replace(inputs=put(b.inputs, math.nan)),
        FloatingPointError,
        f"fit: loss: expected a finite one, got nan {WHERE} the inputs of the batch: "
        "nan at (1, 2, 0)",
        [AT],
    ),
    "infinity in inputs": (
        lambda b: b._replace(inputs=put(b.inputs, -math.inf), carries=False),
        FloatingPointError,
        f"fit: loss: expected a finite one, got nan {WHERE} the inputs of the batch: "
        "-inf at (1, 2, 0)",
        [AT],
    ),
    "NaN in labels": (
        lambda b: b._replace(targets=put(b.targets.astype(np.float32), math.nan)),
        TypeError,
        "cross_entropy: targets: expected integers, got float32",
        [AT],
    ),
    "a label too large": (
        lambda b: b._replace(targets=put(b.targets, 3)),
        IndexError,
        "cross_entropy: targets: expected 0 <= id < 3, got 3 at (1, 2)",
        [AT],
    ),
    "a label below 0": (
        lambda b: b._replace(targets=put(b.targets, -1)),
        IndexError,
        "cross_entropy: targets: expected 0 <= id < 3, got -1 at (1, 2)",
        [AT],
    ),
    "NaN in weights": (
        lambda b: b._replace(weights=put(np.ones((3, 4)), math.nan)),
        ValueError,
        "cross_entropy: weights: expected finite numbers >= 0, got nan at (1, 2)",
        [AT],
    ),
    "weights of 0": (
        lambda b: b._replace(weights=np.zeros(3)),
        ValueError,
        "cross_entropy: targets: expected a sum of weights above 0 for a mean, got 0",
        [AT],
    ),
    "no rows": (
        lambda b: Batch(b.inputs[:0], b.targets[:0]),
        ValueError,
        "cross_entropy: targets: expected at least one element for a mean",
        [AT],
    ),
    "no steps": (
        lambda b: b._replace(lengths=np.zeros(3, np.int64)),
        ValueError,
        "cross_entropy: targets: expected a sum of weights above 0 for a mean, got 0",
        [AT],
    ),
    "fewer targets than steps": (
        lambda b: b._replace(targets=b.targets[:, 1:]),
        ValueError,
        "cross_entropy: targets: expected shape (3, 4) for logits (3, 4, 3), got (3, 3)",
        [AT],
    ),
    "no Batch": (
        lambda b: (b.inputs, b.targets),
        TypeError,
        "fit: data: expected batches of class Batch, got tuple",
        [],
    ),
    "an error of the data": (failing, OSError, "the disk is gone", []),
}


class AtStep(Callback):
    """Does something after step 9."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act

    def on_step_end(self, run: Any) -> None:
        if run.step == 9:
            self.act(run)


def set_rate(rate: float) -> Callable[[Any], None]:
    def act(run: Any) -> None:
        run.optimizer.lr = rate

    return act


def spoil_weight(run: Any) -> None:
    run.model.out.weight.data[2, 1] = np.nan


def fail(*_: Any) -> None:
    raise RuntimeError("mine")


class FailingMetric(metrics.Metric):
    """At its twelfth batch; two of them are those of the first validation."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, outputs: Any, batch: Batch) -> None:
        self.count += 1
        if self.count == 12:
            fail()

    def compute(self) -> float:
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def reset(self) -> None:
        pass


CALLED = "fit: in the callback AtStep.on_step_end"
SETTINGS: dict[str, tuple[dict[str, Any], type[Exception], str, list[str]]] = {
    "a learning rate that becomes NaN": (
        {"callbacks": [AtStep(set_rate(math.nan))]},
        ValueError,
        "Adam: lr: expected 0 <= lr < inf, got nan",
        [CALLED],
    ),
    "one that becomes negative": (
        {"callbacks": [AtStep(set_rate(-1.0))]},
        ValueError,
        "Adam: lr: expected 0 <= lr < inf, got -1.0",
        [CALLED],
    ),
    "a weight that becomes NaN": (
        {"callbacks": [AtStep(spoil_weight)]},
        FloatingPointError,
        f"fit: loss: expected a finite one, got nan {WHERE} the weights before the step: "
        "out.weight, nan at (2, 1)",
        [AT],
    ),
    "a callback": ({"callbacks": [AtStep(fail)]}, RuntimeError, "mine", [CALLED]),
    "a metric": ({"metrics": [FailingMetric()]}, RuntimeError, "mine", [AT]),
}


def run(data: Any, folder: Path | None, **settings: Any) -> tuple[Any, Any]:
    model, optimizer = tagger()
    keep = folder and Checkpoints(folder, every=2)
    kwargs: dict[str, Any] = {"epochs": 3, "clip_norm": 0.5, "validation": Windows(2)} | settings
    history = fit(model, data, CE, optimizer, checkpoints=keep, **kwargs)
    return bits(model), timeless(history)


def stays(folder: Path, step: int) -> None:
    """The checkpoint is of that step, whole, and good to go on from."""
    state = files.load(folder / "last.safetensors")
    assert state["step"] == step
    assert all(np.isfinite(array).all() for array in state["model"].values())
    assert run(Windows(), folder, resume=True) == run(Windows(), None)


def check(error: BaseException, text: str, notes: list[str]) -> None:
    assert str(error) == text
    assert getattr(error, "__notes__", []) == notes


@pytest.mark.parametrize("name", DATA)
def test_bad_data_on_the_way(name: str, tmp_path: Path) -> None:
    spoil, kind, text, notes = DATA[name]
    with pytest.raises(kind) as caught:
        run(Spoiled(spoil), tmp_path)
    check(caught.value, text, notes)
    stays(tmp_path, step=8)


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_settings_on_the_way(name: str, tmp_path: Path) -> None:
    settings, kind, text, notes = SETTINGS[name]
    with pytest.raises(kind) as caught:
        run(Windows(), tmp_path, **settings)
    check(caught.value, text, notes)
    if "metrics" in settings:
        assert files.load(tmp_path / "last.safetensors")["step"] == 8
    else:
        stays(tmp_path, step=8)


def test_bad_data_in_the_validation(tmp_path: Path) -> None:
    class Late(Windows):
        """Bad in the second validation."""

        seen = 0

        def epoch(self, number: int) -> Iterator[Batch]:
            self.seen += 1
            for batch in super().epoch(number):
                yield batch._replace(targets=batch.targets + 9 * (self.seen == 2))

    with pytest.raises(IndexError, match="cross_entropy: targets: expected 0 <= id < 3") as caught:
        run(Windows(), tmp_path, validation=Late(2))
    assert caught.value.__notes__ == ["fit: in the evaluation, batch 1"]
    stays(tmp_path, step=12)


@pytest.mark.parametrize(
    ("data", "settings", "kind", "text"),
    [
        (([], []), {}, ValueError, "Arrays: inputs: expected at least one row, got 0"),
        (Given(), {}, ValueError, "fit: data: expected at least one batch in an epoch, got none"),
        (Windows(), {"epochs": -1}, ValueError, "fit: epochs: expected an int >= 0, got -1"),
        (Windows(), {"lr": math.nan}, ValueError, "Adam: lr: expected 0 <= lr < inf, got nan"),
        (Windows(), {"schedule": lambda _: math.nan}, ValueError,
         "Adam: lr: expected 0 <= lr < inf, got nan"),
        (Windows(), {"resume": 3}, TypeError, "fit: resume: expected a path, True or False, got "
         "int"),
    ],
)  # fmt: skip
def test_bad_from_the_start(
    data: Any, settings: dict[str, Any], kind: type[Exception], text: str, tmp_path: Path
) -> None:
    """No file is touched, no weight moves."""
    run(Windows(), tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model, optimizer = tagger(seed=4)
    weights, rate = bits(model), settings.pop("lr", None)
    with pytest.raises(kind) as caught:
        if rate is not None:
            optimizer.lr = rate
        fit(model, data, CE, optimizer,
            **{"epochs": 3, "checkpoints": tmp_path, "resume": True} | settings)  # fmt: skip
    assert str(caught.value) == text
    assert bits(model) == weights
    assert optimizer.lr == 0.01
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class TestDefinedResults:
    def test_a_batch_larger_than_the_data_has_all_of_it(self) -> None:
        x, y = rows(5, 4)
        ends = []
        for size in (5, 6, 10**9):
            model, optimizer = tagger()
            history = fit(model, (x, y), CE, optimizer, epochs=2, batch_size=size)
            ends.append((bits(model), timeless(history)))
        assert history["step"] == [1, 2]
        assert ends[0] == ends[1] == ends[2]

    def test_one_row(self) -> None:
        """It learns; a metric that a row is too little for is NaN."""
        x, y = rows(1, 4)
        model, optimizer = tagger()
        before = bits(model)
        history = fit(model, (x, y), CE, optimizer, epochs=2, validation=(x, y),
                      metrics=[metrics.Accuracy(), metrics.AUC()])  # fmt: skip
        assert bits(model) != before
        assert history["step"] == [1, 2]
        assert all(0 < loss < 3 for loss in history["loss"] + history["validation_loss"])
        assert all(0 <= value <= 1 for value in history["accuracy"])

    def test_one_step(self) -> None:
        x, y = rows(3, 1)
        model, optimizer = tagger()
        assert fit(model, (x, y), CE, optimizer)["step"] == [1]

    def test_one_row_is_no_variance(self) -> None:
        recurra.manual_seed(0)
        model = recurra.Sequential(recurra.BatchNorm(2), recurra.Linear(2, 3))
        x, y = rows(1, 1)
        before = bits(model)
        with pytest.raises(ValueError) as caught:
            fit(model, (x, y), CE, recurra.SGD(model.parameters(), 0.1))
        text = "BatchNorm: x: expected at least two valid places for a variance, got 1"
        check(caught.value, text, ["fit: in epoch 1, batch 1"])
        assert bits(model) == before

    @pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
    def test_a_learning_rate_of_0_moves_no_weight(self, optimizer: str, tmp_path: Path) -> None:
        """Checkpoints are written, and going on from them moves none either."""
        model, opt = tagger(optimizer=optimizer)
        opt.lr, before = 0.0, bits(model)
        fit(model, Windows(), CE, opt, checkpoints=tmp_path)
        fit(model, Windows(), CE, opt, epochs=2, checkpoints=tmp_path, resume=True)
        assert bits(model) == before
        assert files.load(tmp_path / "last.safetensors")["step"] == 12

    @pytest.mark.parametrize("loss", [recurra.mse, recurra.losses.l1, recurra.losses.huber])
    def test_a_number_to_predict_that_is_none(self, loss: Any) -> None:
        x = np.ones((3, 2), np.float32)
        y = np.array([[0], [np.nan], [1]], np.float32)
        model = recurra.Linear(2, 1)
        before = bits(model)
        with pytest.raises(FloatingPointError) as caught:
            fit(model, (x, y), loss, recurra.SGD(model.parameters(), 0.1), seed=None)
        text = (
            "fit: loss: expected a finite one, got nan in step 1 (epoch 1, batch 1); it arose in "
            "the targets of the batch: nan at (1, 0)"
        )
        check(caught.value, text, ["fit: in epoch 1, batch 1"])
        assert bits(model) == before
        assert math.isnan(evaluate(model, (x, y), loss)["loss"])
