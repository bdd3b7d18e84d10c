"""Bad data and settings: a clear error before anything is lost, or a result that is defined."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra.data import Batch
from recurra.train import Checkpoints, evaluate, files, find_lr, fit
from training import CELLS, Given, Tagger, Windows, bits, rows, tagger

CE = recurra.cross_entropy
X, Y = rows(4, 6)
NAN = np.where(np.arange(48).reshape(4, 6, 2) == 17, np.nan, X).astype(np.float32)


def raises(kind: type[Exception], text: str) -> Any:
    """Also where an optimizer refuses before `fit` does, with its own name in front."""
    return pytest.raises(kind, match=r"^(\w+: )?" + re.escape(text))


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "kind", "text"),
        [
            ({"epochs": -1}, ValueError, "fit: epochs: expected an int >= 0, got -1"),
            ({"epochs": 1.5}, TypeError, "fit: epochs: expected an int, got float"),
            ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
            ({"accumulate": 0}, ValueError, "fit: accumulate: expected an int >= 1, got 0"),
            (
                {"clip_norm": 0.0},
                ValueError,
                "fit: clip_norm: expected a finite number above 0, got 0",
            ),
            (
                {"clip_norm": math.nan},
                ValueError,
                "fit: clip_norm: expected a finite number above 0, got",
            ),
            (
                {"clip_value": -1},
                ValueError,
                "fit: clip_value: expected a finite number above 0, got",
            ),
            ({"clip_value": "1"}, TypeError, "fit: clip_value: expected a number, got str"),
            ({"schedule": 3}, TypeError, "fit: schedule: expected an object with step() or a"),
            ({"schedule_every": "day"}, ValueError, "fit: schedule_every: expected 'step' or"),
            ({"schedule": lambda _: math.nan}, ValueError, "lr: expected 0 <= lr < inf, got nan"),
            ({"schedule": lambda _: -1}, ValueError, "lr: expected 0 <= lr < inf, got -0.01"),
            ({"loss": 3}, TypeError, "fit: loss: expected a function, got int"),
            ({"loss": lambda y, _: y}, TypeError, "fit: loss: expected a tensor with one element"),
            ({"optimizer": 3}, TypeError, "fit: optimizer: expected an Optimizer, got int"),
            ({"callbacks": [3]}, TypeError, "fit: callbacks: expected Callbacks, got int"),
            ({"loss": lambda y, _: 1.0}, TypeError, "fit: loss: expected a tensor with one"),
        ],
    )
    def test_bad_ones(self, settings: dict[str, Any], kind: type[Exception], text: str) -> None:
        model, optimizer = tagger()
        before = bits(model)
        with raises(kind, text):
            fit(model, (X, Y), **{"loss": CE, "optimizer": optimizer} | settings)
        assert bits(model) == before

    def test_another_models_optimizer(self) -> None:
        with raises(ValueError, "fit: optimizer: expected one with parameters of the model, got"):
            fit(tagger()[0], (X, Y), CE, tagger()[1])
        with raises(TypeError, "fit: model: expected a Module, got function"):
            fit(lambda x: x, (X, Y), CE, tagger()[1])  # type: ignore[arg-type]

    def test_an_optimizer_of_more_than_the_model(self) -> None:
        """Nothing keeps it: no checkpoint, no best epoch, no search for a learning rate."""
        model, crf = tagger()[0], recurra.CRF(3)
        optimizer = recurra.Adam([*model.parameters(), *crf.parameters()])
        n = len(list(model.parameters()))
        text = (
            "fit: optimizer: expected parameters of the model only, got others too: "
            f"{n} (3, 3), {n + 1} (3,), {n + 2} (3,); make a loss's own, such as those of a CRF, "
            "part of the model"
        )
        before = bits(crf)
        with raises(ValueError, text):
            fit(model, (X, Y), crf.loss, optimizer)
        with raises(ValueError, text):
            find_lr(model, (X, Y), crf.loss, optimizer)
        assert bits(crf) == before

    def test_a_schedule_of_another_optimizer(self) -> None:
        model, optimizer = tagger()
        other = recurra.SGD(model.parameters(), lr=0.5)
        schedule = recurra.schedules.ExponentialLR(other, 0.5)
        text = "fit: schedule: expected one of the optimizer that trains, got another's"
        with raises(ValueError, text):
            fit(model, (X, Y), CE, optimizer, schedule=schedule)
        assert (optimizer.lr, other.lr) == (0.01, 0.5)

    @pytest.mark.parametrize(
        "name", ["epoch", "step", "lr", "loss", "grad_norm", "seconds", "validation_loss"]
    )
    def test_metrics_under_names_that_are_taken(self, name: str) -> None:
        model, optimizer = tagger()
        metrics = {name: recurra.metrics.Accuracy()}
        text = "fit: metrics: expected names other than epoch, step, lr, loss, grad_norm, seconds"
        with raises(ValueError, text) as caught:
            fit(model, (X, Y), CE, optimizer, metrics=metrics)
        assert str(caught.value).endswith(f"and validation_..., got {name!r}")

        class Loss(recurra.metrics.Accuracy):
            pass

        with raises(ValueError, text):
            evaluate(model, (X, Y), CE, [Loss()])

    def test_two_metrics_of_a_class(self) -> None:
        metrics = [recurra.metrics.F1("micro"), recurra.metrics.F1()]
        with raises(ValueError, "fit: metrics: expected different classes, or a dict, got"):
            evaluate(tagger()[0], (X, Y), CE, metrics)

    def test_checkpoints(self) -> None:
        with raises(ValueError, "Checkpoints: every: expected an int >= 1, got 0"):
            Checkpoints("folder", 0)
        with raises(ValueError, "Checkpoints: numbered=True: expected every with it, got none"):
            Checkpoints("folder", numbered=True)
        with raises(ValueError, "Checkpoints: keep: expected numbered=True with it, got none"):
            Checkpoints("folder", 1, keep=1)

    def test_a_folder_that_cannot_be_is_found_out_first(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        model, optimizer = tagger()
        before = bits(model)
        with pytest.raises(OSError, match="file"):
            fit(model, (X, Y), CE, optimizer, checkpoints=tmp_path / "file" / "folder")
        assert bits(model) == before


class TestLearningRate:
    def test_zero_moves_nothing(self) -> None:
        for optimizer in ("SGD", "Adam"):
            model, opt = tagger(optimizer=optimizer)
            opt.lr, before = 0.0, bits(model)
            history = fit(model, (X, Y), CE, opt, epochs=2)
            assert bits(model) == before
            assert history["lr"] == [0, 0]

    def test_nan(self) -> None:
        model, optimizer = tagger()
        with raises(ValueError, "lr: expected 0 <= lr < inf, got nan"):
            optimizer.lr = math.nan
            fit(model, (X, Y), CE, optimizer)

    def test_a_schedule_that_goes_bad_on_the_way(self, tmp_path: Path) -> None:
        """The checkpoints before stay."""
        model, optimizer = tagger()
        with raises(ValueError, "lr: expected 0 <= lr < inf, got nan") as caught:
            fit(model, Windows(), CE, optimizer, epochs=3, checkpoints=tmp_path,
                schedule=lambda step: math.nan if step == 8 else 1.0)  # fmt: skip
        assert "fit: in epoch 2, batch 2" in caught.value.__notes__
        assert files.load(tmp_path / "last.safetensors")["step"] == 6


class TestData:
    @pytest.mark.parametrize(
        ("data", "kind", "text"),
        [
            ((X[:0], Y[:0]), ValueError, "Arrays: inputs: expected at least one row, got 0"),
            ((X, Y[:3]), ValueError, "Arrays: targets: expected 4 rows as in inputs, got 3"),
            ((1.0, 2.0), ValueError, "Arrays: inputs: expected rows (n, ...), got shape ()"),
            ((["a"], [1]), TypeError, "Arrays: inputs: expected numbers, got <U1"),
            (Given(), ValueError, "fit: data: expected at least one batch in an epoch, got none"),
            (X, TypeError, "fit: data: expected a pair of arrays, or batches with `epoch(number)`"),
        ],
    )
    def test_nothing_to_learn_from(self, data: Any, kind: type[Exception], text: str) -> None:
        model, optimizer = tagger()
        with raises(kind, text):
            fit(model, data, CE, optimizer)

    def test_empty_validation(self) -> None:
        model, optimizer = tagger()
        with raises(ValueError, "fit: validation: expected at least one batch"):
            fit(model, (X, Y), CE, optimizer, validation=Given())
        with raises(ValueError, "Arrays: inputs: expected at least one row, got 0") as caught:
            fit(model, (X, Y), CE, optimizer, validation=(X[:0], Y[:0]))
        assert caught.value.__notes__ == ["fit: validation"]

    @pytest.mark.parametrize(("less", "text"), [(1, "got more"), (-1, "got 6")])
    def test_a_length_that_is_wrong(self, less: int, text: str) -> None:
        class Wrong(Windows):
            def __len__(self) -> int:
                return 6 - less

        model, optimizer = tagger()
        with raises(ValueError, f"fit: data: expected {6 - less} batches, its length, {text}"):
            fit(model, Wrong(), CE, optimizer)

    @pytest.mark.parametrize("label", [3, -1])
    def test_labels_out_of_range(self, label: int) -> None:
        model, optimizer = tagger()
        wrong = Y.copy()
        wrong[2, 1] = label
        before = bits(model)
        with pytest.raises(IndexError, match=f"cross_entropy: .*got {label} at") as caught:
            fit(model, Given(Batch(X, wrong)), CE, optimizer)
        assert caught.value.__notes__ == ["fit: in epoch 1, batch 1"]
        assert bits(model) == before
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_a_validation_without_a_number_goes_on(self) -> None:
        """Its loss is NaN, which is never the best."""
        model, optimizer = tagger()
        stopping = recurra.train.EarlyStopping(patience=2)
        history = fit(model, (X, Y), CE, optimizer, epochs=5, validation=(NAN, Y),
                      callbacks=[stopping])  # fmt: skip
        assert [math.isnan(loss) for loss in history["validation_loss"]] == [True, True]

    def test_an_error_of_the_validation_says_where(self) -> None:
        model, optimizer = tagger()
        with pytest.raises(IndexError) as caught:
            fit(model, (X, Y), CE, optimizer, validation=Given(Batch(X, Y), Batch(X, Y + 9)))
        assert caught.value.__notes__ == ["fit: in the evaluation, batch 2"]


class Poisoned(recurra.Module):
    """Divides by the distance from a number, in the middle."""

    def __init__(self, at: float) -> None:
        self.at = at

    def forward(self, x: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return x / (x - self.at)


class TestNaNGuard:
    def message(self, model: Any, data: Any, loss: Any = CE, **kwargs: Any) -> str:
        before = bits(model)
        optimizer = recurra.SGD(model.parameters(), 0.1)
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as caught:
            fit(model, data, loss, optimizer, **kwargs)
        assert bits(model) == before
        return str(caught.value)

    @pytest.mark.parametrize("cell", CELLS)
    def test_inputs(self, cell: str) -> None:
        data = Given(Batch(X, Y), Batch(NAN, Y))
        model, optimizer = tagger(cell)
        optimizer.lr = 0
        with pytest.raises(FloatingPointError) as caught:
            fit(model, data, CE, optimizer)
        assert str(caught.value) == (
            "fit: loss: expected a finite one, got nan in step 2 (epoch 1, batch 2); "
            "it arose in the inputs of the batch: nan at (1, 2, 1)"
        )

    def test_targets(self) -> None:
        model = recurra.Linear(2, 1)
        targets = np.array([[0.0], [np.inf]], np.float32)
        text = self.message(model, (X[:2, 0], targets), recurra.mse, seed=None)
        assert text.endswith("got inf in step 1 (epoch 1, batch 1); "
                             "it arose in the targets of the batch: inf at (1, 0)")  # fmt: skip

    def test_weights(self) -> None:
        model, _ = tagger()
        model.rnn.weight_hh_l1.data[1, 2] = np.nan
        text = self.message(model, (X, Y))
        assert text.endswith("it arose in the weights before the step: rnn.weight_hh_l1, "
                             "nan at (1, 2)")  # fmt: skip

    def test_the_first_layer_and_its_time_step(self) -> None:
        x = X.copy()
        x[3, 1, 0] = x[1, 4, 1] = 0.125
        model = recurra.Sequential(Poisoned(0.125), recurra.Linear(2, 3))
        text = self.message(model, Given(Batch(x, Y)))
        assert text.endswith("it arose in layer 0 (Poisoned): inf at (3, 1, 0) of its output")

    def test_a_function_between_layers(self) -> None:
        model = recurra.Sequential(
            recurra.Linear(2, 3), lambda x: recurra.ops.log(x - 1e9), recurra.Linear(3, 3)
        )
        text = self.message(model, Given(Batch(X, Y)))
        assert "it arose in what is done before layer 2 (Linear): nan at (0, 0, 0) of its" in text

    def test_the_loss_itself(self) -> None:
        model, _ = tagger()
        text = self.message(model, (X, Y), lambda y, _: recurra.ops.log(y.sum() * 0 - 1))
        assert text.endswith("it arose in the loss: what the model put out is finite")

    def test_dropout_is_the_one_that_was(self) -> None:
        """The second look has the same random numbers: it finds the same fault."""
        seen = []

        class Drawn(recurra.Module):
            def forward(self, x: Any) -> Any:
                y = recurra.layers.dropout(recurra.Tensor(x), 0.5)
                seen.append(y.data.copy())
                return y * np.float32(np.inf)

        self.message(recurra.Sequential(Drawn(), recurra.Linear(2, 3)), Given(Batch(X, Y)))
        assert len(seen) == 2
        np.testing.assert_array_equal(*seen)

    @pytest.mark.parametrize("clip_norm", [None, 1.0])
    def test_gradients(self, clip_norm: float | None) -> None:
        """The slope of a square root is infinite at 0: the loss is fine, its gradient is not."""
        model = recurra.Sequential(
            recurra.Linear(2, 3), recurra.Linear(3, 3), lambda x: recurra.ops.sqrt(x * 0)
        )
        text = self.message(model, Given(Batch(X, Y)), clip_norm=clip_norm)
        assert text == (
            "fit: gradient: expected a finite one, got one that is not in step 1 (epoch 1, "
            "batch 1); it arose in 1.weight"
        )

    def test_the_last_good_checkpoint_stays(self, tmp_path: Path) -> None:
        model, optimizer = tagger()
        data = Given(*[Batch(X, Y)] * 5, Batch(NAN, Y))
        with pytest.raises(FloatingPointError, match="in step 6"):
            fit(model, data, CE, optimizer, checkpoints=Checkpoints(tmp_path, 2))
        state = files.load(tmp_path / "last.safetensors")
        assert state["step"] == 4
        assert all(np.isfinite(array).all() for array in state["model"].values())


def test_a_model_that_forgets_its_state() -> None:
    class Forgets(Tagger):
        def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
            return super().forward(x, state, lengths)[0]

    recurra.manual_seed(0)
    with raises(TypeError, "fit: model: expected (outputs, state) from a forward that takes"):
        evaluate(Forgets(), (X, Y), CE)
