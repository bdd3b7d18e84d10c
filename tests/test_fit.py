"""`fit` against loops written by hand, and what it does with each kind of batch and setting."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import metrics
from recurra.data import Arrays, Batch, Sequences
from recurra.train import Callback, evaluate, find_lr, fit
from training import CELLS, Given, Tagger, Windows, bits, rows, tagger, timeless

CE = recurra.cross_entropy


def by_hand(
    data: Any,
    epochs: int,
    clip: float | None = None,
    rate: Callable[[int], float] | None = None,
    clip_value: float | None = None,
) -> tuple[Tagger, list[float]]:
    """The loop that `fit` stands for."""
    model, optimizer = tagger()
    step, losses = 0, []
    for epoch in range(epochs):
        state = None
        for batch in data.epoch(epoch):
            optimizer.lr = 0.01 * rate(step) if rate else 0.01
            y, state = model(batch.inputs, state if batch.carries else None)
            state = recurra.train.calling.detached(state)
            loss = CE(y, batch.targets)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                recurra.clip_grad_norm(model.parameters(), clip)
            if clip_value is not None:
                recurra.clip_grad_value(model.parameters(), clip_value)
            optimizer.step()
            losses.append(loss.item())
            step += 1
    return model, losses


class TestAgainstALoop:
    @pytest.mark.parametrize("carries", [True, False])
    @pytest.mark.parametrize("clip", [None, 0.1, 1e9])
    def test_the_same_bits(self, carries: bool, clip: float | None) -> None:
        wanted, losses = by_hand(Windows(carries=carries), 3, clip)
        model, optimizer = tagger()
        history = fit(model, Windows(carries=carries), CE, optimizer, epochs=3, clip_norm=clip)
        assert bits(model) == bits(wanted)
        means = np.array(losses).reshape(3, 6).mean(1)
        np.testing.assert_allclose(history["loss"], means, rtol=1e-12)

    @pytest.mark.parametrize("clip", [None, 0.1])
    def test_clipping_by_value(self, clip: float | None) -> None:
        """Of each element, after the norm."""
        wanted, _ = by_hand(Windows(), 2, clip, clip_value=0.01)
        model, optimizer = tagger()
        fit(model, Windows(), CE, optimizer, epochs=2, clip_norm=clip, clip_value=0.01)
        assert bits(model) == bits(wanted) != bits(by_hand(Windows(), 2, clip)[0])

    def test_a_function_as_schedule(self) -> None:
        def rate(step: int) -> float:
            return min(1.0, (step + 1) / 8)

        wanted, _ = by_hand(Windows(), 2, rate=rate)
        model, optimizer = tagger()
        fit(model, Windows(), CE, optimizer, epochs=2, schedule=rate)
        assert bits(model) == bits(wanted)

    def test_carrying_matters(self) -> None:
        ends = [bits(by_hand(Windows(carries=carries), 1)[0]) for carries in (True, False)]
        assert ends[0] != ends[1]

    def test_windows_that_carry_start_where_the_sequence_is(self) -> None:
        """Without updates, windows that carry have the losses of the whole sequence."""
        model, optimizer = tagger()
        optimizer.lr = 0.0
        model.eval()
        x, y = rows(3, 24)
        whole = evaluate(model, Given(Batch(x, y)), CE)["loss"]
        assert evaluate(model, Windows(), CE)["loss"] == pytest.approx(whole, rel=1e-6)
        assert evaluate(model, Windows(carries=False), CE)["loss"] != pytest.approx(whole, rel=1e-6)

    def test_gradients_from_before_are_forgotten(self) -> None:
        wanted, _ = by_hand(Windows(), 1)
        model, optimizer = tagger()
        for parameter in model.parameters():
            parameter.grad = np.ones_like(parameter.data)
        fit(model, Windows(), CE, optimizer)
        assert bits(model) == bits(wanted)

    def test_in_a_thread(self) -> None:
        """Where signals cannot be handled."""
        wanted, _ = by_hand(Windows(), 1)
        model, optimizer = tagger()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fit, model, Windows(), CE, optimizer).result()
        assert bits(model) == bits(wanted)


class TestAccumulation:
    def test_groups_are_as_large_batches(self) -> None:
        """In float64: the mean of two batches' gradients is the gradient of both together."""
        ends = []
        x = np.random.default_rng(0).standard_normal((12, 2))
        for batch, accumulate in ((2, 2), (4, 1)):
            recurra.manual_seed(0)
            model = recurra.Linear(2, 2, dtype=np.float64)
            optimizer = recurra.SGD(model.parameters(), 0.1)
            data = Arrays(x, x[:, ::-1].copy(), batch)
            fit(model, data, recurra.mse, optimizer, epochs=3, accumulate=accumulate)
            ends.append(model.weight.data)
        np.testing.assert_allclose(ends[0], ends[1], rtol=1e-13)

    def test_what_is_left_over_is_a_group(self) -> None:
        model, optimizer = tagger()
        history = fit(model, Windows(count=5), CE, optimizer, epochs=2, accumulate=3)
        assert history["step"] == [2, 4]


class TestLengthsAndWeights:
    x, y = rows(4, 6)
    lengths = np.array([6, 2, 0, 4])

    def seen(self) -> np.ndarray:
        valid: np.ndarray = np.arange(6) < self.lengths[:, None]
        return valid

    def test_padding_reaches_nothing(self) -> None:
        ends = []
        for fill in (0, 1):
            x, y = self.x.copy(), self.y.copy()
            x[~self.seen()], y[~self.seen()] = 9 * fill, fill
            model, optimizer = tagger()
            history = fit(
                model,
                Given(Batch(x, y, self.lengths)),
                CE,
                optimizer,
                epochs=3,
                metrics=[metrics.Accuracy()],
            )
            ends.append((bits(model), timeless(history)))
        assert ends[0] == ends[1]

    @pytest.mark.parametrize("cell", CELLS)
    def test_more_padding_changes_no_bit(self, cell: str) -> None:
        """Of losses, metrics and trained weights, with dropout."""
        ends = []
        for more in (0, 1, 30):
            x = np.pad(self.x, ((0, 0), (0, more), (0, 0)), constant_values=9)
            y = np.pad(self.y, ((0, 0), (0, more)), constant_values=2)
            model, optimizer = tagger(cell)
            history = fit(model, Given(Batch(x, y, self.lengths)), CE, optimizer, epochs=3,
                          clip_norm=0.5, metrics=[metrics.Accuracy()])  # fmt: skip
            ends.append((bits(model), timeless(history)))
        assert ends[0] == ends[1] == ends[2]

    @pytest.mark.parametrize("cell", CELLS)
    def test_rows_in_another_order_give_the_same_losses_to_rounding(self, cell: str) -> None:
        losses = []
        for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
            recurra.manual_seed(0)
            layers = CELLS[cell](2, 5, dtype=np.float64), recurra.Linear(5, 3, dtype=np.float64)
            model = recurra.Sequential(*layers)
            batch = Batch(self.x.astype(float)[order], self.y[order], self.lengths[order])
            optimizer = recurra.Adam(model.parameters(), lr=0.01)
            losses.append(fit(model, Given(batch), CE, optimizer, epochs=5)["loss"])
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-13)

    def test_a_mean_is_over_targets(self) -> None:
        """Batches of any form give the loss of all targets together."""
        model, _ = tagger()
        whole = evaluate(model, Given(Batch(self.x, self.y, self.lengths)), CE)["loss"]
        parts = [
            Batch(self.x[i : i + 1, :n], self.y[i : i + 1, :n])
            for i, n in enumerate(self.lengths)
            if n
        ]
        assert evaluate(model, Given(*parts), CE)["loss"] == pytest.approx(whole, rel=1e-6)

    @pytest.mark.parametrize("kind", ["crf", "ctc"])
    def test_a_mean_over_rows_is_over_rows(self, kind: str) -> None:
        """The size of the batches says nothing about a loss that is a mean over rows."""
        rng = np.random.default_rng(0)
        counts = (9, 2, 7, 4, 3, 8, 5)
        x = [rng.standard_normal((n, 2)) for n in counts]
        labels = [rng.integers(1, 3, n if kind == "crf" else n // 2) for n in counts]
        recurra.manual_seed(0)
        model = recurra.Sequential(
            recurra.GRU(2, 5, dtype=np.float64), recurra.Linear(5, 3, dtype=np.float64)
        )

        def ctc(outputs: Any, batch: Batch) -> Any:
            targets, target_lengths = batch.targets
            return recurra.ctc_loss(outputs, targets, batch.lengths, target_lengths)

        loss = recurra.CRF(3, dtype=np.float64).loss if kind == "crf" else ctc
        found = [
            evaluate(
                model, Sequences(x, labels, batch_size=size, target_lengths=kind == "ctc"), loss
            )["loss"]
            for size in (1, 2, 3, 7)
        ]
        np.testing.assert_allclose(found, found[-1], rtol=1e-12)

    def test_a_loss_may_take_weights(self) -> None:
        found = []

        def loss(outputs: Any, targets: Any, weights: Any = None) -> Any:
            found.append(weights)
            return (outputs * 0).sum()

        model, _ = tagger()
        each, each_row = np.full((4, 6), 2.0), np.arange(4.0)
        for lengths, weights in [
            (None, None),
            (None, each),
            (self.lengths, each_row),
            (self.lengths, None),
        ]:
            evaluate(model, Given(Batch(self.x, self.y, lengths, weights)), loss)
        assert found[0] is None
        np.testing.assert_array_equal(found[1], each)
        np.testing.assert_array_equal(found[2], self.seen() * each_row[:, None])
        np.testing.assert_array_equal(found[3], self.seen())

    def test_a_loss_may_take_the_batch(self) -> None:
        given = Batch(self.x, self.y, self.lengths, np.ones(4))

        def loss(outputs: Any, batch: Batch) -> Any:
            assert batch is given
            return outputs.sum()

        evaluate(tagger()[0], Given(given), loss)

    def test_what_nobody_takes_is_refused(self) -> None:
        model, _ = tagger()
        plain = recurra.Sequential(recurra.Linear(2, 3))

        def loss(outputs: Any, targets: Any) -> Any:
            return CE(outputs, targets)

        for chosen, batch, text in [
            (model, Batch(self.x, self.y, weights=np.ones(4)), "loss: expected one that takes"),
            (plain, Batch(self.x, self.y, self.lengths), "forward that takes `lengths`"),
            (plain, Batch(self.x, self.y, carries=True), "forward that takes `state`"),
        ]:
            with pytest.raises(TypeError, match=text):
                evaluate(chosen, Given(batch), loss)

    @pytest.mark.parametrize("stride", [None, 1, 2])
    @pytest.mark.parametrize("other", [(4, 6), (4,)])
    def test_several_targets_with_padding(self, stride: int | None, other: tuple[int, ...]) -> None:
        """Whoever made the outputs knows which belong to which target: the loss, or nobody."""

        def loss(outputs: Any, targets: Any) -> Any:
            return CE(outputs, targets[0])

        def of_the_batch(outputs: Any, batch: Batch) -> Any:
            return (outputs * 0).sum()

        model: Any = tagger()[0]
        if stride is not None:
            layers = recurra.Conv1d(2, 5, 1, stride=stride), recurra.Linear(5, 3)
            model = recurra.Sequential(*layers)
        batch = Batch(self.x, (self.y, np.zeros(other)), self.lengths)
        with pytest.raises(TypeError) as caught:
            evaluate(model, Given(batch), loss)
        assert str(caught.value) == (
            "fit: loss: expected a function of (outputs, batch) for several targets with lengths, "
            "got loss"
        )
        assert evaluate(model, Given(batch), of_the_batch)["loss"] == 0

    def test_several_targets_of_rows_need_no_lengths(self) -> None:
        def loss(outputs: Any, targets: Any) -> Any:
            return CE(outputs[:, -1], targets[0])

        batch = Batch(self.x, (self.y[:, 0], np.zeros((4, 2))), self.lengths)
        assert evaluate(tagger()[0], Given(batch), loss)["loss"] > 0

    def test_several_inputs(self) -> None:
        class Sum(recurra.Module):
            def __init__(self) -> None:
                self.out = recurra.Linear(2, 3)

            def forward(self, a: Any, b: Any) -> Any:
                return self.out(a + b)

        model = Sum()
        batch = Batch((self.x, -self.x), self.y)
        loss = evaluate(model, Given(batch), CE)["loss"]
        assert loss == pytest.approx(CE(model(self.x, -self.x), self.y).item())


class TestPairs:
    @pytest.mark.parametrize("seed", [None, 0, 3])
    def test_a_pair_is_read_as_arrays(self, seed: int | None) -> None:
        """Shuffled anew in each epoch by `seed`; the validation keeps its order."""
        x, y = rows(10, 4)
        data = Arrays(x, y, 4, shuffle=seed is not None, seed=seed or 0)
        ends = []
        for given, checked in ((data, Arrays(x, y, 4)), ((x, y), (x, y))):
            model, optimizer = tagger()
            history = fit(model, given, CE, optimizer, epochs=3, validation=checked,
                          batch_size=4, seed=seed)  # fmt: skip
            ends.append((bits(model), timeless(history)))
        assert ends[0] == ends[1]

    def test_the_seed_counts(self) -> None:
        ends = []
        for seed in (None, 0, 3):
            model, optimizer = tagger()
            fit(model, rows(10, 4), CE, optimizer, batch_size=4, seed=seed)
            ends.append(bits(model))
        assert all(ends[i] != ends[i - 1] for i in range(3))

    def test_one_row_and_a_batch_larger_than_the_data(self) -> None:
        model = recurra.Linear(1, 1)
        optimizer = recurra.SGD(model.parameters(), 0.1)
        x = np.ones((1, 1), np.float32)
        assert fit(model, (x, x), recurra.mse, optimizer, batch_size=99)["step"] == [1]


class TestHistory:
    def test_what_is_in_it(self) -> None:
        model, optimizer = tagger()
        history = fit(
            model,
            Windows(),
            CE,
            optimizer,
            epochs=2,
            validation=Windows(2),
            metrics={
                "accuracy": metrics.Accuracy(),
                "micro": metrics.F1("micro"),
                "table": metrics.ConfusionMatrix(),
            },
        )
        assert list(history) == [
            *["epoch", "step", "lr", "loss", "grad_norm", "accuracy", "micro", "table"],
            *[f"validation_{name}" for name in ("loss", "accuracy", "micro", "table")],
            "seconds",
        ]
        assert (history["epoch"], history["step"]) == ([1, 2], [6, 12])
        assert history["accuracy"] == history["micro"]
        assert history["table"][1].sum() == 6 * 12
        assert history["validation_table"][1].sum() == 2 * 12
        assert history["seconds"] == sorted(history["seconds"])

    def test_names_of_classes(self) -> None:
        model, _ = tagger()
        found = evaluate(model, Windows(), CE, [metrics.BitsPerCharacter(), metrics.AUC()])
        assert list(found) == ["loss", "bits_per_character", "auc"]
        assert found["bits_per_character"] == pytest.approx(found["loss"] / math.log(2), rel=1e-5)

    def test_validation_changes_nothing(self) -> None:
        ends = []
        for validation in (None, Windows(3)):
            model, optimizer = tagger()
            fit(model, Windows(), CE, optimizer, epochs=2, validation=validation)
            ends.append(bits(model))
        assert ends[0] == ends[1]

    def test_modes_come_back(self) -> None:
        model, optimizer = tagger()
        model.drop.eval()
        seen = []

        class See(Callback):
            def on_step_end(self, run: Any) -> None:
                seen.append(model.drop.training)

        fit(model, Windows(), CE, optimizer, callbacks=[See()])
        assert seen == [True] * 6
        assert model.training
        assert not model.drop.training

    def test_no_epochs(self) -> None:
        model, optimizer = tagger()
        assert fit(model, Windows(), CE, optimizer, epochs=0).rows == []


class TestSchedules:
    class Recorded:
        """A schedule as they are written elsewhere."""

        def __init__(self, optimizer: Any) -> None:
            self.optimizer, self.calls = optimizer, 0

        def step(self) -> None:
            self.calls += 1
            self.optimizer.lr *= 0.5

        def state_dict(self) -> dict[str, Any]:
            return {"calls": self.calls}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.calls = state["calls"]

    @pytest.mark.parametrize(("every", "calls"), [("step", 12), ("epoch", 2)])
    def test_when_it_steps(self, every: str, calls: int) -> None:
        model, optimizer = tagger()
        schedule = self.Recorded(optimizer)
        fit(model, Windows(), CE, optimizer, epochs=2, schedule=schedule, schedule_every=every)
        assert schedule.calls == calls
        assert optimizer.lr == 0.01 * 0.5**calls

    def test_one_that_wants_a_value(self) -> None:
        values = []

        class Plateau(self.Recorded):
            def step(self, value: float) -> None:  # type: ignore[override]
                values.append(value)

        model, optimizer = tagger()
        history = fit(
            model,
            Windows(),
            CE,
            optimizer,
            epochs=2,
            validation=Windows(1),
            schedule=Plateau(optimizer),
        )
        assert values == history["validation_loss"]


@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_changes_no_bit(cell: str) -> None:
    ends = []
    for threads in (1, 2):
        recurra.set_num_threads(threads)
        model, optimizer = tagger(cell)
        history = fit(model, Windows(B=64, T=16), CE, optimizer, epochs=2, clip_norm=0.5)
        ends.append((bits(model), timeless(history)))
    assert ends[0] == ends[1]


def test_a_star_brings_what_is_documented_and_no_module() -> None:
    """`schedules` of the package, above all, would hide `recurra.schedules`."""
    names = vars(recurra.train)
    public = {n for n, v in names.items() if n[0] != "_" and not isinstance(v, ModuleType)}
    assert set(recurra.train.__all__) == public


class TestFinder:
    def test_everything_is_left_as_it_was(self) -> None:
        model, optimizer = tagger()
        fit(model, Windows(), CE, optimizer)
        model.out.weight.grad = np.ones_like(model.out.weight.data)
        before = bits(model), optimizer.state_dict(), recurra.random.get_state()
        curve = find_lr(model, Windows(), CE, optimizer, steps=20)
        after = bits(model), optimizer.state_dict(), recurra.random.get_state()
        assert before[0] == after[0]
        assert str(before[1:]) == str(after[1:])
        assert model.out.weight.grad.sum() == 15
        assert curve.lr == sorted(curve.lr)
        assert curve.suggestion in curve.lr
        assert len(curve.lr) == len(curve.loss) <= 20

    def test_it_ends_where_the_loss_explodes(self) -> None:
        model = recurra.Linear(1, 1, dtype=np.float64)
        x = np.linspace(-1, 1, 32)[:, None]
        optimizer = recurra.SGD(model.parameters(), 0.1)
        curve = find_lr(model, (x, 3 * x), recurra.mse, optimizer, low=1e-3, high=1e6, steps=60)
        assert 1e-3 < curve.suggestion < 3
        assert len(curve.lr) < 60
        assert optimizer.lr == 0.1

    def test_bad_settings(self) -> None:
        model, optimizer = tagger()
        with pytest.raises(ValueError, match="find_lr: low and high: expected 0 < low < high"):
            find_lr(model, Windows(), CE, optimizer, low=1.0, high=0.1)
        for norm in (-1.0, 0):
            text = f"find_lr: clip_norm: expected a finite number above 0, got {norm}"
            with pytest.raises(ValueError, match=text):
                find_lr(model, Windows(), CE, optimizer, clip_norm=norm)
