"""The CRF: all sequences of tags listed, finite differences, laws, extremes, errors."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from bits import assert_the_same_everywhere, bits
from labellings import crf_best, crf_log_probability, crf_marginals
from recurra import Tensor, _core
from refusals import refused
from tensor_gradients import array, check_gradients


def model(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Transitions, start and end."""
    return array(count, count, seed=seed), array(count, seed=seed), array(count, seed=seed + 1)


def all_gradients(*arrays: np.ndarray, **options: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The loss, and the gradients of emissions, transitions, start and end."""
    tags = options.pop("tags")
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    loss = recurra.crf_loss(tensors[0], tags, *tensors[1:], **options)
    loss.backward(np.ones(loss.shape, loss.dtype))
    return loss.data, [tensor.grad for tensor in tensors if tensor.grad is not None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_every_sequence_of_tags(steps: int, count: int, dtype: Any, tolerance: float) -> None:
    emissions, scores = 2 * array(steps, count), model(count)
    every = list(itertools.product(range(count), repeat=steps))
    rows = np.broadcast_to(emissions, (len(every), steps, count)).astype(dtype)
    given_scores = [score.astype(dtype) for score in scores]
    losses = recurra.crf_loss(rows, every, *given_scores, reduction="none")
    assert losses.dtype == dtype
    expected = [-crf_log_probability(emissions, tags, scores) for tags in every]
    np.testing.assert_allclose(losses.data, expected, rtol=tolerance, atol=tolerance)
    assert np.exp(-losses.data).sum() == pytest.approx(1, abs=10 * tolerance)
    np.testing.assert_allclose(
        recurra.crf_marginals(rows[:1], *given_scores)[0],
        crf_marginals(emissions, scores),
        atol=tolerance,
    )
    best = recurra.crf_decode(rows[:1], *given_scores)
    tags, score = crf_best(emissions, scores)
    assert tuple(best.tags[0]) == tags
    assert best.scores[0] == pytest.approx(score, rel=10 * tolerance)


def test_the_gradient_of_emissions_is_what_marginals_say() -> None:
    emissions, scores = array(1, 5, 3), model(3)
    tags = [[2, 0, 0, 1, 2]]
    _, gradients = all_gradients(emissions, *scores, tags=tags, reduction="sum")
    given_tags = np.eye(3)[tags[0]]
    expected = crf_marginals(emissions[0], scores) - given_tags
    np.testing.assert_allclose(gradients[0][0], expected, atol=1e-14)
    np.testing.assert_allclose(gradients[2], expected[0], atol=1e-14)
    np.testing.assert_allclose(gradients[3], expected[-1], atol=1e-14)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("lengths", [None, [6, 1, 0, 3, 2, 6]])
def test_finite_differences(lengths: list[int] | None, reduction: str) -> None:
    tags = np.random.default_rng(0).integers(0, 4, (6, 6))
    check_gradients(
        lambda x, *scores: recurra.crf_loss(x, tags, *scores, lengths, reduction) * 1.5,
        array(6, 6, 4),
        *model(4),
    )


def test_reductions() -> None:
    emissions, scores, tags = array(3, 4, 2), model(2), np.zeros((3, 4), int)
    none, total, mean = (
        recurra.crf_loss(emissions, tags, *scores, [4, 2, 0], reduction).data
        for reduction in ("none", "sum", "mean")
    )
    assert none[2] == 0
    np.testing.assert_allclose(total, none.sum(), rtol=1e-15)
    np.testing.assert_allclose(mean, none.mean(), rtol=1e-15)


class TestDecoding:
    @settings(max_examples=100)
    @given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
    def test_ties_go_to_the_lowest_tag_from_the_end(
        self, steps: int, count: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        emissions = rng.integers(0, 2, (steps, count)).astype(float)
        scores = [
            rng.integers(0, 2, shape).astype(float) for shape in ((count, count), count, count)
        ]
        best = recurra.crf_decode(emissions[None], *scores)
        tags, score = crf_best(emissions, tuple(scores))
        assert tuple(best.tags[0]) == tags
        assert best.scores[0] == score

    def test_rows_lengths_and_padding(self) -> None:
        emissions, scores = array(3, 5, 3), model(3)
        emissions[1, 2:] = np.nan
        best = recurra.crf_decode(emissions, *scores, [5, 2, 0])
        assert best.tags.dtype == np.int64
        assert best.tags[1, 2:].tolist() == [-1] * 3
        assert best.tags[2].tolist() == [-1] * 5
        assert best.scores[2] == 0
        for b, steps in ((0, 5), (1, 2)):
            tags, score = crf_best(emissions[b, :steps], scores)
            assert tuple(best.tags[b, :steps]) == tags
            assert best.scores[b] == pytest.approx(score, rel=1e-14)

    def test_forbidden_transitions_are_not_taken(self) -> None:
        emissions, (transitions, start, end) = 5 * array(4, 30, 3), model(3)
        transitions[0, 1] = transitions[2, 2] = start[0] = -np.inf
        tags = recurra.crf_decode(emissions, transitions, start, end).tags
        pairs = set(zip(tags[:, :-1].ravel().tolist(), tags[:, 1:].ravel().tolist(), strict=True))
        assert not pairs & {(0, 1), (2, 2)}
        assert 0 not in tags[:, 0]
        loss = recurra.crf_loss(emissions, tags, transitions, start, end, reduction="none")
        assert np.isfinite(loss.data).all()


class TestExtremes:
    def test_large_scores(self) -> None:
        emissions = np.array([[[1e300, 0.0], [0.0, 1e300]]])
        zeros = np.zeros(2)
        loss, gradients = all_gradients(emissions, np.zeros((2, 2)), zeros, zeros, tags=[[0, 1]])
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
        loss, gradients = all_gradients(emissions, np.zeros((2, 2)), zeros, zeros, tags=[[1, 0]])
        assert loss == 2e300
        assert gradients[1].tolist() == [[0, 1], [-1, 0]]

    def test_a_way_that_is_very_unlikely_but_the_only_one(self) -> None:
        """Probabilities near e^-5000 are no zeros."""
        transitions = np.array([[-np.inf, -5000.0], [0.0, -np.inf]])
        start, end = np.array([0.0, -np.inf]), np.zeros(2)
        loss, gradients = all_gradients(
            np.zeros((1, 4, 2)), transitions, start, end, tags=[[0, 1, 0, 1]]
        )
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
        best = recurra.crf_decode(np.zeros((1, 4, 2)), transitions, start, end)
        assert best.tags.tolist() == [[0, 1, 0, 1]]
        assert best.scores[0] == -10000

    def test_forbidden_tags(self) -> None:
        emissions, (transitions, start, end) = array(1, 3, 2), model(2)
        transitions[0, 0] = -np.inf
        loss, gradients = all_gradients(
            emissions, transitions, start, end, tags=[[0, 0, 1]], reduction="sum"
        )
        assert loss == np.inf
        expected = crf_marginals(emissions[0], (transitions, start, end)) - np.eye(2)[[0, 0, 1]]
        np.testing.assert_allclose(gradients[0][0], expected, atol=1e-14)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("place", [0, 3])
    def test_not_a_number(self, bad: float, place: int) -> None:
        emissions, scores = array(2, 4, 3), model(3)
        emissions[0, place, 1] = bad
        tags = np.zeros((2, 4), int)
        loss, gradients = all_gradients(emissions, *scores, tags=tags, reduction="none")
        assert np.isnan(loss[0])
        assert np.isfinite(loss[1])
        assert np.isnan(gradients[0][0]).all()
        assert np.isfinite(gradients[0][1]).all()
        assert all(np.isnan(gradient).all() for gradient in gradients[1:])
        assert np.isnan(recurra.crf_marginals(emissions, *scores)[0]).all()

    def test_everything_forbidden(self) -> None:
        emissions, (_, start, end) = array(1, 2, 2), model(2)
        nothing = np.full((2, 2), -np.inf)
        loss, gradients = all_gradients(emissions, nothing, start, end, tags=[[0, 1]])
        assert np.isnan(loss)
        assert np.isnan(gradients[0]).all()
        assert recurra.crf_decode(emissions, nothing, start, end).scores[0] == -np.inf

    def test_one_tag_is_certain(self) -> None:
        loss, gradients = all_gradients(array(2, 5, 1), *model(1), tags=np.zeros((2, 5), int))
        assert loss == 0
        assert all(np.abs(gradient).max() < 1e-15 for gradient in gradients)

    def test_a_long_row_loses_no_digits(self) -> None:
        """Without transitions the steps are apart: the loss is a sum of cross entropies."""
        emissions, zeros = array(1, 3000, 5), np.zeros(5)
        tags = np.random.default_rng(1).integers(0, 5, (1, 3000))
        loss, gradients = all_gradients(
            emissions, np.zeros((5, 5)), zeros, zeros, tags=tags, reduction="sum"
        )
        z = Tensor(emissions[0], requires_grad=True)
        expected = recurra.cross_entropy(z, tags[0], "sum")
        expected.backward()
        assert z.grad is not None
        np.testing.assert_allclose(loss, expected.data, rtol=1e-14)
        np.testing.assert_allclose(gradients[0][0], z.grad, atol=1e-13)

    def test_empty_batches_and_no_steps(self) -> None:
        zeros = np.zeros(2)
        scores = (np.zeros((2, 2)), zeros, zeros)
        nothing = np.zeros((0, 3), int)
        assert recurra.crf_loss(np.zeros((0, 3, 2)), nothing, *scores, reduction="sum").item() == 0
        loss, gradients = all_gradients(np.zeros((2, 0, 2)), *scores, tags=np.zeros((2, 0), int))
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
        assert recurra.crf_decode(np.zeros((0, 3, 2)), *scores).tags.shape == (0, 3)
        assert recurra.crf_marginals(np.zeros((2, 0, 2)), *scores).shape == (2, 0, 2)


class TestLaws:
    B, T, K = 11, 40, 13
    emissions = 3 * array(B, T, K, seed=4)
    scores = model(K)
    tags = np.random.default_rng(2).integers(0, K, (B, T))
    lengths = np.array([40, 0, 1, 39, 12, 40, 7, 2, 25, 40, 33])

    def results(self, dtype: Any, threads: int) -> dict[str, np.ndarray]:
        emissions, *scores = (a.astype(dtype) for a in (self.emissions, *self.scores))
        weights = 1 + np.arange(self.B) / 7
        losses, total, gradients = _core.crf_loss(
            emissions, self.tags, *scores, self.lengths, weights, True, threads
        )
        tags, best = _core.crf_decode(emissions, *scores, self.lengths, threads)
        shares = _core.crf_marginals(emissions, *scores, self.lengths, threads)
        named = dict(zip("xtse", gradients, strict=True))
        return named | {
            "losses": losses, "total": np.array(total), "tags": tags, "best": best, "m": shares,
        }  # fmt: skip

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_threads_and_instruction_sets_change_no_bit(self, dtype: Any) -> None:
        assert_the_same_everywhere(lambda threads: self.results(dtype, threads))

    def test_a_row_alone_has_the_same_bits(self) -> None:
        expected = self.results(np.float64, 1)
        for b, steps in enumerate(self.lengths):
            cut = self.emissions[b : b + 1, :steps]
            tags = self.tags[b : b + 1, :steps]
            losses, _, gradients = _core.crf_loss(
                cut, tags, *self.scores, None, np.array([1 + b / 7]), True
            )
            assert bits(losses)[0] == bits(expected["losses"])[b]
            assert (bits(gradients[0][0]) == bits(expected["x"][b, :steps])).all()
            assert not expected["x"][b, steps:].any()

    def test_nothing_past_a_length_is_read(self) -> None:
        expected = self.results(np.float64, 1)
        behind = np.arange(self.T) >= self.lengths[:, None]
        emissions, tags = self.emissions.copy(), self.tags.copy()
        emissions[behind], tags[behind] = np.nan, -1
        weights = 1 + np.arange(self.B) / 7
        _, total, gradients = _core.crf_loss(
            emissions, tags, *self.scores, self.lengths, weights, True
        )
        assert total == expected["total"]
        for gradient, name in zip(gradients, "xtse", strict=True):
            assert (bits(gradient) == bits(expected[name])).all()


class TestLayer:
    def test_it_learns_which_tags_follow_each_other(self) -> None:
        """The emissions know nothing: tags turn 0 1 2 0 1 2 by the transitions alone."""
        recurra.manual_seed(1)
        crf = recurra.CRF(3)
        emissions = np.zeros((4, 6, 3), np.float32)
        emissions[:, 0, 0] = 1
        tags = np.broadcast_to(np.arange(6) % 3, (4, 6))
        optimizer = recurra.Adam(crf.parameters(), lr=0.1)
        first = crf.loss(emissions, tags).item()
        for _ in range(60):
            loss = crf.loss(emissions, tags)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.1 < 3 < first
        assert (crf.decode(emissions).tags == tags).all()
        assert (crf(emissions).tags == tags).all()
        assert crf.marginals(emissions).argmax(-1).tolist() == tags.tolist()

    def test_parameters(self) -> None:
        crf = recurra.CRF(4, dtype=np.float64)
        shapes = {name: parameter.shape for name, parameter in crf.named_parameters()}
        assert shapes == {
            "transitions": (4, 4), "start_transitions": (4,), "end_transitions": (4,),
        }  # fmt: skip
        assert all(np.abs(parameter.data).max() <= 0.1 for parameter in crf.parameters())
        assert repr(crf) == "CRF(4)"

    def test_the_same_as_the_function(self) -> None:
        crf = recurra.CRF(3, dtype=np.float64)
        scores = (crf.transitions, crf.start_transitions, crf.end_transitions)
        emissions, tags = array(2, 4, 3), [[0, 1, 2, 0], [1, 1, 0, 2]]
        got = crf.loss(emissions, tags, [4, 2], "sum")
        assert bits(got.data) == bits(
            recurra.crf_loss(emissions, tags, *scores, [4, 2], "sum").data
        )


X = np.zeros((2, 3, 4))
SCORES = (np.zeros((4, 4)), np.zeros(4), np.zeros(4))
TAGS = np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: recurra.crf_loss(X[0], TAGS, *SCORES), ValueError,
         "crf_loss: emissions: expected shape (B, T, K) with K >= 1, got (3, 4)"),
        (lambda: recurra.crf_decode(X[:, :, :0], *SCORES), ValueError,
         "crf_decode: emissions: expected shape (B, T, K) with K >= 1, got (2, 3, 0)"),
        (lambda: recurra.crf_loss(X.astype(int), TAGS, *SCORES), TypeError,
         "crf_loss: emissions: expected float32 or float64, got int64"),
        (lambda: recurra.crf_loss(X.astype(np.float32), TAGS, *SCORES), TypeError,
         "crf_loss: transitions: expected float32, got float64"),
        (lambda: recurra.crf_loss(X, TAGS, np.zeros((4, 3)), *SCORES[1:]), ValueError,
         "crf_loss: transitions: expected shape (K, K) = (4, 4), got (4, 3)"),
        (lambda: recurra.crf_marginals(X, SCORES[0], np.zeros(3), SCORES[2]), ValueError,
         "crf_marginals: start_transitions: expected shape (K,) = (4,), got (3,)"),
        (lambda: recurra.crf_decode(X, *SCORES[:2], np.zeros((4, 1))), ValueError,
         "crf_decode: end_transitions: expected shape (K,) = (4,), got (4, 1)"),
        (lambda: recurra.crf_loss(X, TAGS[:, :2], *SCORES), ValueError,
         "crf_loss: tags: expected shape (B, T) = (2, 3), got (2, 2)"),
        (lambda: recurra.crf_loss(X, TAGS * 1.0, *SCORES), TypeError,
         "crf_loss: tags: expected integers, got float64"),
        (lambda: recurra.crf_loss(X, TAGS + np.array([[0, 0, 0], [0, 4, 0]]), *SCORES), ValueError,
         "crf_loss: tags: expected integers from 0 to K-1 = 3, got 4 in row 1 at step 1"),
        (lambda: recurra.crf_loss(X, TAGS - [[0, 0, 1], [0, 0, 0]], *SCORES), ValueError,
         "crf_loss: tags: expected integers from 0 to K-1 = 3, got -1 in row 0 at step 2"),
        (lambda: recurra.crf_loss(X, TAGS, *SCORES, [3, 4]), ValueError,
         "crf_loss: lengths: expected integers from 0 to T = 3, got 4 in row 1"),
        (lambda: recurra.crf_decode(X, *SCORES, [3]), ValueError,
         "crf_decode: lengths: expected shape (B,) = (2,), got (1,)"),
        (lambda: recurra.crf_marginals(X, *SCORES, [3.0, 1.0]), TypeError,
         "crf_marginals: lengths: expected integers, got float64"),
        (lambda: recurra.crf_loss(X, TAGS, *SCORES, None, "token_mean"), ValueError,
         "crf_loss: reduction: expected 'none' or 'mean' or 'sum', got 'token_mean'"),
        (lambda: recurra.crf_loss(X[:0], TAGS[:0], *SCORES), ValueError,
         "crf_loss: emissions: expected at least one row for a mean, got none"),
        (lambda: recurra.crf_decode(X + np.array([0, 0, np.nan, 0]), *SCORES), ValueError,
         "crf_decode: emissions: expected numbers below infinity, got others in row 0 at step 0"),
        (lambda: recurra.crf_decode(X, SCORES[0] + np.inf, *SCORES[1:]), ValueError,
         "crf_decode: transitions: expected numbers below infinity, got others"),
        (lambda: recurra.CRF(0), ValueError, "CRF: num_tags: expected an int >= 1, got 0"),
        (lambda: recurra.CRF(2, dtype=np.float16), TypeError,
         "CRF: dtype: expected float32 or float64, got float16"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    refused(error, text, call)
