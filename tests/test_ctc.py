"""CTC: all paths listed, PyTorch's numbers, finite differences, laws, extremes, errors."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from bits import assert_same_bits, assert_the_same_everywhere, bits
from labellings import ctc_labels, ctc_log_probabilities, log_softmax
from recurra import Tensor, _core
from refusals import refused
from tensor_gradients import array, check_gradients

GOLDEN = np.load(Path(__file__).parent / "golden" / "torch_ctc.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})


def value_and_gradient(logits: np.ndarray, *args: Any, **options: Any) -> tuple[Any, np.ndarray]:
    z = Tensor(logits, requires_grad=True)
    loss = recurra.ctc_loss(z, *args, **options)
    loss.backward(np.ones(loss.shape, loss.dtype))
    assert z.grad is not None
    return loss.data, z.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-13), (np.float32, 2e-5)])
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, dtype: Any, tolerance: float) -> None:
    named = ("target", "input_lengths", "target_lengths")
    loss, gradient = value_and_gradient(
        GOLDEN[f"{case}/input"].astype(dtype).swapaxes(0, 1),
        *(GOLDEN[f"{case}/{name}"] for name in named),
        reduction=case.rsplit("_", maxsplit=1)[-1],
        zero_infinity="zero_infinity" in case,
    )
    assert loss.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(loss, GOLDEN[f"{case}/loss"], rtol=tolerance)
    expected = GOLDEN[f"{case}/dinput"].swapaxes(0, 1)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("steps", range(6))
def test_every_sequence_of_labels_has_the_probability_of_its_paths(steps: int, blank: int) -> None:
    logits = 3 * array(steps, 3, seed=steps)
    others = [label for label in range(3) if label != blank]
    expected = ctc_log_probabilities(logits, blank)
    for count in range(steps + 2):
        for labels in itertools.product(others, repeat=count):
            target = np.array([labels], np.int64).reshape(1, count)
            got = recurra.ctc_loss(logits[None], target, blank=blank, reduction="none").data
            wanted = -expected.get(labels, -np.inf)
            np.testing.assert_allclose(got, [wanted], rtol=1e-13, atol=1e-14)


@settings(max_examples=60)
@given(st.data())
def test_all_probabilities_add_up_to_one(data: st.DataObject) -> None:
    steps, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    seed, scale = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0.1, 1.0, 30.0]))
    logits = scale * array(steps, classes, seed=seed)
    paths = itertools.product(range(classes), repeat=steps)
    found = sorted({ctc_labels(path, 0) for path in paths})
    rows = np.broadcast_to(logits, (len(found), steps, classes))
    flat = [label for labels in found for label in labels]
    counts = [len(labels) for labels in found]
    losses = recurra.ctc_loss(rows, flat, None, counts, reduction="none").data
    assert np.exp(-losses).sum() == pytest.approx(1, abs=1e-12)


class TestGradients:
    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    def test_finite_differences(self, reduction: str) -> None:
        targets = [[1, 1, 2], [3, 0, 0], [0, 0, 0], [2, 1, 3]]
        lengths = ([7, 3, 5, 4], [3, 1, 0, 3])
        check_gradients(
            lambda z: recurra.ctc_loss(z, targets, *lengths, reduction=reduction) * 1.5,
            array(4, 7, 4),
        )

    def test_through_log_softmax_of_the_caller_it_is_the_same(self) -> None:
        logits, targets = array(2, 9, 5), [[1, 2, 2], [4, 3, 1]]
        _, direct = value_and_gradient(logits, targets, reduction="sum")
        _, of_logs = value_and_gradient(log_softmax(logits), targets, reduction="sum")
        np.testing.assert_allclose(of_logs, direct, atol=1e-14)
        np.testing.assert_allclose(direct.sum(-1), 0, atol=1e-14)

    def test_nothing_past_a_length_is_read_or_changed(self) -> None:
        logits, lengths = array(2, 6, 4), ([6, 3], [2, 1])
        loss, gradient = value_and_gradient(logits, [[1, 2], [3, 0]], *lengths)
        logits[1, 3:] = np.nan
        padded = value_and_gradient(logits, [[1, 2], [3, -100]], *lengths)
        assert_same_bits({"loss": padded[0], "d": padded[1]}, {"loss": loss, "d": gradient})
        assert not gradient[1, 3:].any()

    def test_none_without_a_tensor_that_wants_it(self) -> None:
        logits = np.zeros((1, 2, 3))
        assert not recurra.ctc_loss(logits, [[1]]).requires_grad
        losses, total, gradient = _core.ctc_loss(logits, [1], None, [1], 0, False, None, False)
        assert gradient is None
        assert total == losses[0]


def test_targets_in_a_row_are_the_same_as_padded_ones() -> None:
    logits, counts = array(3, 8, 5), [2, 0, 3]
    padded = recurra.ctc_loss(logits, [[1, 2, 0], [0, 0, 0], [4, 4, 3]], None, counts)
    in_a_row = recurra.ctc_loss(logits, [1, 2, 4, 4, 3], None, counts)
    assert bits(padded.data) == bits(in_a_row.data)


class TestExtremes:
    @pytest.mark.parametrize(
        ("steps", "target"), [(0, [1]), (1, [1, 2]), (2, [1, 1]), (3, [2, 2, 2])]
    )
    def test_too_few_steps(self, steps: int, target: list[int]) -> None:
        logits = array(2, 5, 3)
        options = {"input_lengths": [steps, 5], "reduction": "none"}
        targets = [target, [1] + [2] * (len(target) - 1)]
        options["target_lengths"] = [len(target), 1]
        loss, gradient = value_and_gradient(logits, targets, **options)
        assert loss[0] == np.inf
        assert np.isfinite(loss[1])
        assert np.isnan(gradient[0, :steps]).all()
        assert not gradient[0, steps:].any()
        loss, zeroed = value_and_gradient(logits, targets, **options, zero_infinity=True)
        assert loss[0] == 0
        assert not zeroed[0].any()
        assert (bits(zeroed[1]) == bits(gradient[1])).all()

    def test_nothing_to_say_in_no_time(self) -> None:
        loss, gradient = value_and_gradient(np.zeros((1, 0, 3)), np.zeros((1, 0), int))
        assert loss == 0
        assert not np.signbit(loss)
        assert gradient.shape == (1, 0, 3)

    def test_only_blanks(self) -> None:
        logits = array(1, 6, 4)
        loss, _ = value_and_gradient(logits, np.zeros((1, 0), int), reduction="sum")
        np.testing.assert_allclose(loss, -log_softmax(logits)[0, :, 0].sum(), rtol=1e-14)

    def test_one_class(self) -> None:
        loss, gradient = value_and_gradient(array(1, 4, 1), np.zeros((1, 0), int))
        assert loss == 0
        assert not gradient.any()

    def test_one_step_is_cross_entropy(self) -> None:
        logits = array(3, 1, 5)
        loss, gradient = value_and_gradient(logits, [[1], [4], [2]])
        z = Tensor(logits[:, 0], requires_grad=True)
        expected = recurra.cross_entropy(z, [1, 4, 2])
        expected.backward()
        assert z.grad is not None
        np.testing.assert_allclose(loss, expected.data, rtol=1e-14)
        np.testing.assert_allclose(gradient[:, 0], z.grad, atol=1e-15)

    def test_large_scores(self) -> None:
        logits = np.array([[[1e300, -1e300, 0.0]] * 3])
        loss, gradient = value_and_gradient(logits, np.zeros((1, 0), int))
        assert loss == 0
        assert not gradient.any()
        logits = np.array([[[1e4, 0.0]] * 3])
        loss, gradient = value_and_gradient(logits, [[1]])
        np.testing.assert_allclose(loss, 1e4 - np.log(3), rtol=1e-15)
        # Each of the steps may be the one with the label; longer ones cost as much again.
        np.testing.assert_allclose(gradient, [[[1 / 3, -1 / 3]] * 3], rtol=1e-12)

    def test_forbidden_classes(self) -> None:
        logits = np.array([[[0.0, -np.inf, 0.0], [0.0, 0.0, -np.inf]]])
        loss, gradient = value_and_gradient(logits, [[1]])
        np.testing.assert_allclose(loss, -np.log(0.25), rtol=1e-15)
        np.testing.assert_allclose(gradient, [[[-0.5, 0, 0.5], [0.5, -0.5, 0]]], atol=1e-15)
        loss, gradient = value_and_gradient(logits, [[2, 1, 2]])
        assert loss == np.inf

    def test_not_a_number(self) -> None:
        for bad in (np.nan, np.inf):
            for place in (0, 5):
                logits = array(2, 6, 4)
                logits[0, place, 2] = bad
                # Too few steps do not hide it, nor does zero_infinity.
                for target in ([1, 2], [1, 1, 1, 1]):
                    loss, gradient = value_and_gradient(
                        logits, [target, target], reduction="none", zero_infinity=True
                    )
                    assert np.isnan(loss[0])
                    assert not np.isnan(loss[1])
                    assert np.isnan(gradient[0]).all()
                    assert np.isfinite(gradient[1]).all()

    def test_a_long_row_loses_no_digits(self) -> None:
        """Of classes all alike every path counts once: the loss is known."""
        steps, count = 3000, 1
        loss, gradient = value_and_gradient(np.zeros((1, steps, 2)), [[1]], reduction="sum")
        paths = steps * (steps + 1) // 2
        np.testing.assert_allclose(loss, steps * np.log(2) - np.log(paths), rtol=1e-14)
        shares = np.array([(t + 1) * (steps - t) for t in range(steps)]) / paths
        np.testing.assert_allclose(gradient[0, :, count], 0.5 - shares, atol=1e-12)

    def test_an_empty_batch(self) -> None:
        logits = np.zeros((0, 4, 3))
        targets = np.zeros((0, 2), int)
        assert recurra.ctc_loss(logits, targets, reduction="sum").item() == 0
        assert recurra.ctc_loss(logits, targets, reduction="none").shape == (0,)
        assert recurra.ctc_greedy_decode(logits) == []
        assert recurra.ctc_beam_decode(logits) == []


class TestLaws:
    B, T, V, S = 9, 60, 37, 12
    logits = 3 * array(B, T, V, seed=5)
    targets = np.random.default_rng(0).integers(1, V, (B, S))
    lengths = ([60, 0, 12, 59, 33, 60, 1, 40, 60], [12, 0, 3, 11, 12, 1, 1, 12, 7])

    def results(self, dtype: Any, threads: int) -> dict[str, np.ndarray]:
        logits = self.logits.astype(dtype)
        flat = self.targets[np.arange(self.S) < np.array(self.lengths[1])[:, None]]
        steps, counts = map(np.array, self.lengths)
        losses, total, gradient = _core.ctc_loss(
            logits, flat, steps, counts, 0, False, None, True, threads
        )
        best = _core.ctc_greedy_decode(logits, steps, 0, threads)
        beams = _core.ctc_beam_decode(logits, steps, 0, 4, threads)
        found = best + [one for row in beams for one in row]
        labels = np.concatenate([labels for labels, _ in found])
        logs = np.array([log for _, log in found])
        return {
            "losses": losses, "total": np.array(total), "d": gradient, "l": labels, "p": logs,
        }  # fmt: skip

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_threads_and_instruction_sets_change_no_bit(self, dtype: Any) -> None:
        assert_the_same_everywhere(lambda threads: self.results(dtype, threads))

    def test_a_row_alone_has_the_same_bits(self) -> None:
        whole = value_and_gradient(self.logits, self.targets, *self.lengths, reduction="none")
        for b in range(self.B):
            row = slice(b, b + 1)
            steps, counts = (given[row] for given in self.lengths)
            cut = self.logits[row, : steps[0]]
            alone = value_and_gradient(cut, self.targets[row], steps, counts, reduction="none")
            assert bits(alone[0])[0] == bits(whole[0])[b]
            assert (bits(alone[1][0]) == bits(whole[1][b, : steps[0]])).all()

    def test_strides_change_no_bit(self) -> None:
        time_first = np.ascontiguousarray(self.logits.swapaxes(0, 1)).swapaxes(0, 1)
        expected = value_and_gradient(self.logits, self.targets, *self.lengths)
        got = value_and_gradient(time_first[:, :, ::-1][:, :, ::-1], self.targets, *self.lengths)
        assert_same_bits(dict(zip("ld", got, strict=True)), dict(zip("ld", expected, strict=True)))


class TestDecoding:
    def test_greedy_is_the_most_probable_path(self) -> None:
        for seed, blank in itertools.product(range(20), range(3)):
            logits = array(5, 3, seed=seed)
            log_p = log_softmax(logits)
            path = tuple(int(i) for i in logits.argmax(-1))
            found = recurra.ctc_greedy_decode(logits[None], blank=blank)[0]
            assert tuple(found.labels) == ctc_labels(path, blank)
            assert found.labels.dtype == np.int64
            assert found.log_probability == pytest.approx(log_p.max(-1).sum(), rel=1e-13)

    def test_greedy_takes_the_first_of_equals(self) -> None:
        logits = np.zeros((1, 2, 3))
        assert recurra.ctc_greedy_decode(logits)[0].labels.tolist() == []
        assert recurra.ctc_greedy_decode(logits, blank=1)[0].labels.tolist() == [0]

    @pytest.mark.parametrize("blank", [0, 2])
    @pytest.mark.parametrize("steps", range(7))
    def test_a_wide_beam_is_exhaustive(self, steps: int, blank: int) -> None:
        logits = 2 * array(steps, 3, seed=steps)
        expected = ctc_log_probabilities(logits, blank)
        found = recurra.ctc_beam_decode(logits[None], blank=blank, beam_width=1000)[0]
        assert len(found) == len(expected)
        logs = [one.log_probability for one in found]
        assert logs == sorted(logs, reverse=True)
        for labels, log_probability in found:
            wanted = expected[tuple(int(label) for label in labels)]
            assert log_probability == pytest.approx(wanted, rel=1e-12, abs=1e-12)

    @pytest.mark.parametrize("width", [1, 2, 5, 20])
    def test_a_narrow_beam_finds_what_a_plain_search_finds(self, width: int) -> None:
        for seed in range(15):
            logits = 2 * array(8, 4, seed=seed)
            found = recurra.ctc_beam_decode(logits[None], beam_width=width)[0]
            got = {tuple(int(k) for k in labels): log for labels, log in found}
            expected = plain_beam_search(np.exp(log_softmax(logits)), width)
            assert got.keys() == expected.keys()
            for labels, p in expected.items():
                assert got[labels] == pytest.approx(np.log(p), rel=1e-10)

    def test_rows_lengths_and_log_probabilities_of_the_loss(self) -> None:
        logits = array(3, 6, 4)
        rows = recurra.ctc_beam_decode(logits, [6, 0, 3], beam_width=4000)
        assert [len(one.labels) for one in rows[1]] == [0]
        assert rows[1][0].log_probability == 0
        for b, steps in ((0, 6), (2, 3)):
            labels, log_probability = rows[b][0]
            loss = recurra.ctc_loss(logits[b : b + 1], labels[None], [steps], reduction="sum")
            assert log_probability == pytest.approx(-loss.item(), rel=1e-13)

    def test_ties_are_broken_the_same_way(self) -> None:
        found = recurra.ctc_beam_decode(np.zeros((1, 1, 4)), beam_width=3)[0]
        assert [one.labels.tolist() for one in found] == [[], [1], [2]]

    def test_forbidden_classes_are_not_found(self) -> None:
        logits = np.array([[[0.0, -np.inf, 0.0]] * 2])
        found = recurra.ctc_beam_decode(logits)[0]
        assert sorted(one.labels.tolist() for one in found) == [[], [2]]

    def test_many_steps_and_a_beam_that_forgets(self) -> None:
        """Prefixes leave the beam and come back: each is there once."""
        logits = np.random.default_rng(3).normal(size=(1, 200, 4))
        found = recurra.ctc_beam_decode(logits, beam_width=30)[0]
        assert len({tuple(one.labels.tolist()) for one in found}) == len(found) == 30
        steps = recurra.ctc_loss(logits, found[0].labels[None], reduction="sum").item()
        assert found[0].log_probability <= -steps + 1e-9


def plain_beam_search(p: np.ndarray, width: int) -> dict[tuple[int, ...], float]:
    """Hannun et al. (2014), with probabilities and dicts; the blank is 0."""
    beam = {(): (1.0, 0.0)}
    for step in p:
        following: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, label) in beam.items():
            stay = following.setdefault(prefix, [0.0, 0.0])
            stay[0] += (blank + label) * step[0]
            if prefix:
                stay[1] += label * step[prefix[-1]]
            for k in range(1, len(step)):
                before = blank if prefix and prefix[-1] == k else blank + label
                following.setdefault((*prefix, k), [0.0, 0.0])[1] += before * step[k]
        best = sorted(following.items(), key=lambda item: -sum(item[1]))[:width]
        beam = {prefix: (b, nb) for prefix, (b, nb) in best}
    return {prefix: sum(both) for prefix, both in beam.items()}


Z = np.zeros((2, 3, 4))
T22 = [[1, 2], [3, 1]]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: recurra.ctc_loss(np.zeros((2, 3)), T22), ValueError,
         "ctc_loss: logits: expected shape (B, T, V), got (2, 3)"),
        (lambda: recurra.ctc_loss(Z.astype(int), T22), TypeError,
         "ctc_loss: logits: expected float32 or float64, got int64"),
        (lambda: recurra.ctc_loss(Z, [[1.0], [2.0]]), TypeError,
         "ctc_loss: targets: expected integers, got float64"),
        (lambda: recurra.ctc_loss(Z, [[1, 2]]), ValueError,
         "ctc_loss: targets: expected shape (B, S) with B = 2, or (sum of target_lengths,), "
         "got (1, 2)"),
        (lambda: recurra.ctc_loss(Z, [1, 2]), ValueError,
         "ctc_loss: target_lengths: expected (B,) for targets in a row, got None"),
        (lambda: recurra.ctc_loss(Z, [[1, 0], [2, 1]]), ValueError,
         "ctc_loss: targets: expected integers from 0 to V-1 = 3 but the blank 0, "
         "got 0 in row 0 at position 1"),
        (lambda: recurra.ctc_loss(Z, [[1, 2], [2, 4]]), ValueError,
         "ctc_loss: targets: expected integers from 0 to V-1 = 3 but the blank 0, "
         "got 4 in row 1 at position 1"),
        (lambda: recurra.ctc_loss(Z, [2, -1], None, [0, 2]), ValueError,
         "ctc_loss: targets: expected integers from 0 to V-1 = 3 but the blank 0, "
         "got -1 in row 1 at position 1"),
        (lambda: recurra.ctc_loss(Z, T22, [3, 4]), ValueError,
         "ctc_loss: input_lengths: expected integers from 0 to T = 3, got 4 in row 1"),
        (lambda: recurra.ctc_loss(Z, T22, [3]), ValueError,
         "ctc_loss: input_lengths: expected shape (B,) = (2,), got (1,)"),
        (lambda: recurra.ctc_loss(Z, T22, [3.0, 2.0]), TypeError,
         "ctc_loss: input_lengths: expected integers, got float64"),
        (lambda: recurra.ctc_loss(Z, T22, None, [2, 3]), ValueError,
         "ctc_loss: target_lengths: expected integers from 0 to S = 2, got 3 in row 1"),
        (lambda: recurra.ctc_loss(Z, T22, None, [2]), ValueError,
         "ctc_loss: target_lengths: expected shape (B,) = (2,), got (1,)"),
        (lambda: recurra.ctc_loss(Z, [1, 2, 3], None, [1, -1]), ValueError,
         "ctc_loss: target_lengths: expected integers from 0 on whose sum is 3, as of labels, "
         "got -1 in row 1 behind a sum of 1"),
        (lambda: recurra.ctc_loss(Z, [1, 2, 3], None, [1, 1]), ValueError,
         "ctc_loss: target_lengths: expected integers from 0 on whose sum is 3, as of labels, "
         "got a sum of 2"),
        (lambda: recurra.ctc_loss(Z, [1, 2, 3], None, [2**62, 2**62]), ValueError,
         "ctc_loss: target_lengths: expected integers from 0 on whose sum is 3, as of labels, "
         f"got {2**62} in row 0 behind a sum of 0"),
        (lambda: recurra.ctc_loss(Z, T22, blank=4), ValueError,
         "ctc_loss: blank: expected an int from 0 to V-1 = 3, got 4"),
        (lambda: recurra.ctc_loss(Z, T22, blank=-1), ValueError,
         "ctc_loss: blank: expected an int >= 0, got -1"),
        (lambda: recurra.ctc_loss(Z, T22, reduction="all"), ValueError,
         "ctc_loss: reduction: expected 'none' or 'mean' or 'sum', got 'all'"),
        (lambda: recurra.ctc_loss(Z, T22, zero_infinity=1), TypeError,
         "ctc_loss: zero_infinity: expected True or False, got int"),
        (lambda: recurra.ctc_loss(np.zeros((0, 2, 3)), np.zeros((0, 1), int)), ValueError,
         "ctc_loss: logits: expected at least one row for a mean, got none"),
        (lambda: recurra.ctc_greedy_decode(Z[0]), ValueError,
         "ctc_greedy_decode: logits: expected shape (B, T, V), got (3, 4)"),
        (lambda: recurra.ctc_greedy_decode(Z + np.array([0, np.nan, 0, 0])), ValueError,
         "ctc_greedy_decode: logits: expected numbers of which the largest is finite, "
         "got others in row 0 at step 0"),
        (lambda: recurra.ctc_beam_decode(Z - np.inf), ValueError,
         "ctc_beam_decode: logits: expected numbers of which the largest is finite, "
         "got others in row 0 at step 0"),
        (lambda: recurra.ctc_beam_decode(Z, beam_width=0), ValueError,
         "ctc_beam_decode: beam_width: expected an int >= 1, got 0"),
        (lambda: recurra.ctc_beam_decode(Z, [1, 2, 3]), ValueError,
         "ctc_beam_decode: input_lengths: expected shape (B,) = (2,), got (3,)"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    refused(error, text, call)
