"""Metrics: hand computations, plain Python oracles, batches against the whole, padding, errors."""

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra import Tensor, metrics
from recurra.data import Batch
from recurra.metrics.counted import total_weight

RNG = np.random.default_rng(4)
LOGITS, LABELS = RNG.standard_normal((40, 3)), RNG.integers(0, 3, 40)
WEIGHTS = RNG.uniform(0.5, 2, 40)
Y, T = RNG.standard_normal(40), RNG.standard_normal(40) + 2
HISTORY = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 4.0])


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


class TestClasses:
    #          found 0  1  2
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    found = np.array([0, 0, 1, 2, 1, 1, 0, 2, 2, 1])

    def test_by_hand(self) -> None:
        matrix = metrics.confusion_matrix(self.found, self.truth)
        assert matrix.tolist() == [[2, 1, 1], [1, 2, 0], [0, 1, 2]]
        assert matrix.dtype == np.int64
        assert metrics.accuracy(self.found, self.truth) == 0.6
        precision = metrics.precision(self.found, self.truth, average=None)
        np.testing.assert_allclose(precision, [2 / 3, 2 / 4, 2 / 3], rtol=1e-15)
        recall = metrics.recall(self.found, self.truth, average=None)
        np.testing.assert_allclose(recall, [2 / 4, 2 / 3, 2 / 3], rtol=1e-15)
        f1 = metrics.f1(self.found, self.truth, average=None)
        np.testing.assert_allclose(f1, [4 / 7, 4 / 7, 4 / 6], rtol=1e-15)

    def test_averages(self) -> None:
        f1 = np.array([4 / 7, 4 / 7, 4 / 6])
        for average, wanted in [
            ("macro", f1.mean()),
            ("micro", 0.6),
            ("weighted", f1 @ [0.4, 0.3, 0.3]),
        ]:
            assert metrics.f1(self.found, self.truth, average) == pytest.approx(wanted, rel=1e-14)
        assert metrics.precision(self.found, self.truth, "micro") == 0.6
        assert metrics.recall(self.found, self.truth, "weighted") == pytest.approx(0.6)

    def test_binary(self) -> None:
        logits, truth = np.array([-2.0, 0.5, 3.0, 1.0]), np.array([0, 0, 1, 1])
        assert metrics.precision(logits, truth, "binary") == 2 / 3
        assert metrics.recall(logits, truth, "binary") == 1
        assert metrics.f1(logits, truth.astype(float), "binary") == 0.8
        assert metrics.precision([0, 0], [0, 0], "binary") == 0

    def test_a_class_that_was_never_found_has_zero(self) -> None:
        precision = metrics.precision([0, 0], [0, 1], average=None)
        assert precision.tolist() == [0.5, 0]

    def test_macro_leaves_out_a_class_that_does_not_occur(self) -> None:
        logits = np.array([[9.0, 0, 0], [0, 9.0, 0]])
        assert metrics.recall(logits, [0, 1]) == 1
        assert metrics.confusion_matrix(logits, [0, 1]).shape == (3, 3)

    def test_weights_are_repetitions(self) -> None:
        counts = np.array([1, 3, 2, 1, 1, 4, 1, 1, 2, 1])
        found, truth = np.repeat(self.found, counts), np.repeat(self.truth, counts)
        for name in ("accuracy", "precision", "recall", "f1", "confusion_matrix"):
            function = getattr(metrics, name)
            weighted = function(self.found, self.truth, weights=counts)
            np.testing.assert_allclose(weighted, function(found, truth), rtol=1e-14)

    def test_labels_out_of_range(self) -> None:
        text = "confusion_matrix: targets: expected 0 <= id < 2, got 2 at (7,)"
        with raises(IndexError, text):
            metrics.confusion_matrix(self.found % 2, self.truth, num_classes=2)
        with raises(IndexError, "confusion_matrix: targets: expected 0 <= id < 3, got -1 at (1,)"):
            metrics.confusion_matrix(np.zeros((2, 3)), [0, -1])
        scores = np.zeros((2, 3))
        for bad in (-100, -1, 3):
            with raises(IndexError, f"accuracy: targets: expected 0 <= id < 3, got {bad} at (1,)"):
                metrics.accuracy(scores, [0, bad])
            with raises(IndexError, f"Accuracy: targets: expected 0 <= id < 3, got {bad} at (1,)"):
                metrics.Accuracy().update(scores, Batch(None, np.array([0, bad])))
        with raises(TypeError, "accuracy: targets: expected integers, got float64"):
            metrics.accuracy(scores, [0, 0.5])
        assert metrics.accuracy(scores, [0.0, 1.0]) == 0.5
        assert metrics.accuracy([0, 5], [0, -100]) == 0.5, "without scores no class is known"

    def test_bad_arguments(self) -> None:
        text = "f1: average: expected 'macro' or 'micro' or 'weighted' or 'binary', got 'all'"
        with raises(ValueError, text):
            metrics.f1([0], [0], average="all")
        with pytest.raises(ValueError, match="F1: average: expected 'macro'"):
            metrics.F1(average="all")
        with pytest.raises(ValueError, match=r"f1: average: .* for 3 classes, got 'binary'"):
            metrics.f1(self.found, self.truth, "binary")
        text = (
            "accuracy: outputs: expected shape (2,) of the targets, or one axis of scores more, "
            "got (3,)"
        )
        with raises(ValueError, text):
            metrics.accuracy([1, 2, 3], [1, 2])
        with raises(TypeError, "confusion_matrix: targets: expected integers, got float64"):
            metrics.confusion_matrix([0, 1], [0.5, 1.0])


class TestAUC:
    def test_by_hand(self) -> None:
        assert metrics.auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
        assert metrics.auc([1.0, 1.0, 1.0], [0, 1, 1]) == 0.5
        assert metrics.auc([3.0, 2.0, 1.0], [0, 0, 1]) == 0

    def test_a_missing_class(self) -> None:
        assert math.isnan(metrics.auc([0.1, 0.2], [1, 1]))
        assert math.isnan(metrics.AUC().compute())

    @given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 3)), max_size=20))
    def test_it_counts_pairs(self, rows: list[tuple[int, bool, int]]) -> None:
        scores, truth, weights = (
            np.array(c) for c in (zip(*rows, strict=True) if rows else [()] * 3)
        )
        ones = [(s, w) for s, t, w in rows if t]
        zeros = [(s, w) for s, t, w in rows if not t]
        pairs = list(itertools.product(ones, zeros))
        found = metrics.auc(scores.astype(float), truth.astype(int), weights)
        if not pairs:
            assert math.isnan(found)
            return
        won = sum(((a > b) + (a == b) / 2) * v * w for (a, v), (b, w) in pairs)
        assert found == pytest.approx(won / sum(v * w for (_, v), (_, w) in pairs), rel=1e-12)

    def test_classes_against_the_rest(self) -> None:
        chances = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
        each = [metrics.auc(chances[:, c], c == LABELS) for c in range(3)]
        assert metrics.auc(LOGITS, LABELS) == pytest.approx(np.mean(each), rel=1e-14)

    def test_bad_labels(self) -> None:
        with raises(IndexError, "auc: targets: expected 0 <= id < 2, got 2 at (1,)"):
            metrics.auc([0.1, 0.2], [0, 2])


class TestNumbers:
    y, t = np.array([1.0, 4.0, 0.0, -2.0]), np.array([2.0, 2.0, 0.0, -4.0])

    def test_by_hand(self) -> None:
        assert metrics.mae(self.y, self.t) == 5 / 4
        assert metrics.rmse(self.y, self.t) == 1.5
        assert metrics.mape(self.y, self.t) == (50 + 100 + 0 + 50) / 4
        wanted = 200 * (1 / 3 + 2 / 6 + 0 + 2 / 6) / 4
        assert metrics.smape(self.y, self.t) == pytest.approx(wanted, rel=1e-15)
        # in the history: changes of 2, 1, 3, 1, 0 from step to step, 1, 2, 2, 1 over two
        assert metrics.mase(self.y, self.t, HISTORY) == 1.25 / 1.4
        assert metrics.mase(self.y, self.t, HISTORY, season=2) == 1.25 / 1.5

    def test_weights(self) -> None:
        assert metrics.mae(self.y, self.t, [1, 0, 0, 3]) == 7 / 4

    def test_a_target_of_zero(self) -> None:
        assert metrics.mape([1.0], [0.0]) == math.inf
        assert metrics.smape([1.0], [0.0]) == 200

    def test_nothing_is_nan(self) -> None:
        assert math.isnan(metrics.mae([], []))
        assert math.isnan(metrics.RMSE().compute())

    def test_bad_arguments(self) -> None:
        with raises(ValueError, "mae: outputs: expected shape of the targets = (3,), got (2,)"):
            metrics.mae([1.0, 2.0], [1.0, 2.0, 3.0])
        text = "MASE: training: expected shape (..., T) with T > season = 3, got (3,)"
        with raises(ValueError, text):
            metrics.MASE(np.ones(3), season=3)
        with pytest.raises(ValueError, match=r"mase: training: expected numbers that change"):
            metrics.mase([1.0], [1.0], np.ones(5))


class TestSurprise:
    def test_by_hand(self) -> None:
        logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
        bits = (1 - math.log2(0.8)) / 2
        assert metrics.bits_per_character(logits, [0, 2]) == pytest.approx(bits, rel=1e-14)
        assert metrics.perplexity(logits, [0, 2]) == pytest.approx(2**bits, rel=1e-14)

    def test_large_logits(self) -> None:
        assert metrics.perplexity(np.array([[1e4, 0.0]]), [0]) == 1
        assert metrics.Perplexity().compute() != 0

    def test_bad_targets(self) -> None:
        with raises(IndexError, "perplexity: targets: expected 0 <= id < 3, got 3 at (0,)"):
            metrics.perplexity(np.zeros((1, 3)), [3])


def slow_distance(a: Any, b: Any) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


class TestEditing:
    @given(st.text("abc", max_size=12), st.text("abc", max_size=12))
    def test_against_the_textbook(self, a: str, b: str) -> None:
        assert metrics.edit_distance(a, b) == slow_distance(a, b)

    def test_arrays_and_lists(self) -> None:
        assert metrics.edit_distance(np.array([1, 2, 3]), np.array([2, 3, 4, 5])) == 3
        assert metrics.edit_distance([], ["a", "b"]) == 2

    def test_words(self) -> None:
        assert metrics.word_error_rate(["a b c", ""], ["a x c d", "e"]) == 3 / 5
        assert math.isnan(metrics.word_error_rate([""], [""]))

    def test_scores_and_lengths(self) -> None:
        scores = np.eye(4)[np.array([[1, 2, 3], [3, 0, 0]])]
        targets, lengths = np.array([[1, 2, 2], [3, 1, 1]]), np.array([3, 1])
        distance = metrics.EditDistance()
        distance.update(Tensor(scores), Batch(np.zeros((2, 3)), targets, lengths))
        assert distance.compute() == 0.5

    def test_errors(self) -> None:
        text = "EditDistance: outputs: expected 1 sequences as the targets, got 2"
        with raises(ValueError, text):
            metrics.EditDistance().update([[1], [2]], Batch(None, [[1]]))
        with raises(ValueError, "EditDistance: weights: expected none, got an array"):
            metrics.EditDistance().update([[1]], Batch(None, [[1]], weights=np.ones(1)))


# A metric, the function of whole arrays, and what both are given.
STREAMS: dict[str, tuple[Any, Any, Any, Any]] = {
    "accuracy": (metrics.Accuracy, metrics.accuracy, LOGITS, LABELS),
    "confusion": (metrics.ConfusionMatrix, metrics.confusion_matrix, LOGITS, LABELS),
    "precision": (metrics.Precision, metrics.precision, LOGITS, LABELS),
    "recall": (
        lambda: metrics.Recall("weighted"),
        lambda *a, weights=None: metrics.recall(*a, "weighted", weights),
        LOGITS,
        LABELS,
    ),
    "f1": (
        lambda: metrics.F1(None),
        lambda *a, weights=None: metrics.f1(*a, None, weights),
        LOGITS,
        LABELS,
    ),
    "auc": (metrics.AUC, metrics.auc, LOGITS, LABELS),
    "auc binary": (metrics.AUC, metrics.auc, LOGITS[:, 0], LABELS % 2),
    "perplexity": (metrics.Perplexity, metrics.perplexity, LOGITS, LABELS),
    "bits": (metrics.BitsPerCharacter, metrics.bits_per_character, LOGITS, LABELS),
    "mae": (metrics.MAE, metrics.mae, Y, T),
    "rmse": (metrics.RMSE, metrics.rmse, Y, T),
    "mape": (metrics.MAPE, metrics.mape, Y, T),
    "smape": (metrics.SMAPE, metrics.smape, Y, T),
    "mase": (
        lambda: metrics.MASE(HISTORY, 2),
        lambda *a, weights=None: metrics.mase(*a, HISTORY, 2, weights),
        Y,
        T,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
class TestStreams:
    @pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
    def test_batches_are_as_the_whole(self, name: str, weights: Any) -> None:
        make, function, outputs, targets = STREAMS[name]
        metric = make()
        for rows in np.split(np.arange(40), [1, 9, 30]):
            w = None if weights is None else weights[rows]
            metric.update(Tensor(outputs[rows]), Batch(None, targets[rows], weights=w))
        wanted = function(outputs, targets, weights=weights)
        np.testing.assert_allclose(metric.compute(), wanted, rtol=1e-13)

    def test_padding_does_not_count(self, name: str) -> None:
        make, function, outputs, targets = STREAMS[name]
        lengths = np.array([10, 3, 0, 7])
        valid = np.arange(10) < lengths[:, None]
        y = outputs.reshape(4, 10, *outputs.shape[1:]).copy()
        t = targets.reshape(4, 10).copy()
        wanted = function(y[valid], t[valid])
        y[~valid], t[~valid] = np.nan, -99
        metric = make()
        metric.update(y, Batch(np.zeros((4, 10, 2)), t, lengths))
        np.testing.assert_allclose(metric.compute(), wanted, rtol=1e-13)

    def test_state_and_reset(self, name: str) -> None:
        make, _, outputs, targets = STREAMS[name]
        first, second = make(), make()
        fresh = first.state_dict()
        first.update(outputs[:20], Batch(None, targets[:20]))
        second.load_state_dict(first.state_dict())
        for metric in (first, second):
            metric.update(outputs[20:], Batch(None, targets[20:]))
        assert np.array_equal(first.compute(), second.compute())
        first.reset()
        assert str(first.state_dict()) == str(fresh)


def test_weights_of_rows_and_steps() -> None:
    y, t, x = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 2)), np.zeros((2, 2, 1))
    metric = metrics.MAE()
    metric.update(y, Batch(x, t, weights=np.array([1.0, 3.0])))
    assert metric.compute() == (1 + 2 + 9 + 12) / 8
    metric.reset()
    metric.update(y, Batch(x, t, np.array([2, 1]), weights=np.array([[1.0, 0.0], [3.0, 5.0]])))
    assert metric.compute() == (1 + 9) / 4


@pytest.mark.parametrize(
    ("batch", "wanted"),
    [
        (Batch(np.zeros((3, 5, 2)), np.zeros(3)), 3),
        (Batch(np.zeros((3, 5, 2)), np.zeros((3, 5))), 15),
        (Batch(np.zeros((3, 5, 2)), np.zeros((3, 5, 4)), np.array([5, 0, 2])), 7),
        (Batch(np.zeros((3, 5, 2)), np.zeros(3), np.array([5, 0, 2])), 3),
        (Batch(np.zeros((3, 5, 2)), np.zeros((3, 5)), weights=np.array([1, 0, 0.5])), 7.5),
        (
            Batch(np.zeros((2, 2, 2)), np.zeros((2, 2)), np.array([1, 2]), np.array([1, 0.5])),
            2,
        ),
        (Batch((np.zeros((3, 5)), np.zeros(3)), (np.zeros(3), np.zeros(3))), 3),
        (Batch(np.zeros((3, 5, 2)), (np.zeros(3), np.zeros(3)), np.array([5, 0, 2])), 3),
    ],
)
def test_how_much_a_batch_counts(batch: Batch, wanted: float) -> None:
    assert total_weight(batch) == wanted


def test_tuples_are_refused() -> None:
    with pytest.raises(TypeError, match="MAE: outputs and targets: expected one array each"):
        metrics.MAE().update((Y, Y), Batch(None, T))


def test_another_state_is_refused() -> None:
    with raises(
        ValueError, "MAE.load_state_dict: state: expected ['total', 'weight'], got ['edits']"
    ):
        metrics.MAE().load_state_dict({"edits": 1})
