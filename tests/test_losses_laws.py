"""Losses where numbers end, and the bits of what runs in the core."""

import math
from typing import Any

import numpy as np
import pytest

import recurra
from bits import assert_the_same_everywhere
from recurra import Tensor, losses
from tensor_gradients import array

inf, nan = math.inf, math.nan
both_precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def run(call: Any, *arrays: np.ndarray) -> tuple[list[float], list[list[float]]]:
    """Return the losses of `call` and the gradients of their sum."""
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    loss = call(*leaves)
    loss.backward(np.ones_like(loss.data))
    gradients = [leaf.grad for leaf in leaves]
    assert all(g is not None and g.dtype == arrays[0].dtype for g in gradients)
    return loss.data.tolist(), [g.tolist() for g in gradients if g is not None]


# --- bits


@pytest.mark.parametrize("options", [{}, {"everything": True}], ids=["plain", "all"])
@both_precisions
def test_threads_and_instruction_sets_change_no_bit(dtype: Any, options: dict[str, bool]) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(7, 201, 203)).astype(dtype)  # worth several threads
    targets = rng.integers(203, size=(7, 201))
    given: dict[str, Any] = {}
    if options:
        weights, of_classes = rng.uniform(size=(7, 201)), rng.uniform(size=203)
        weights[:, 150:] = 0
        given = {"weights": weights, "class_weights": of_classes, "ignore_index": 5}
        given["label_smoothing"] = 0.1

    def results(threads: int) -> dict[str, np.ndarray]:
        recurra.set_num_threads(threads)
        out = {}
        for reduction in ("none", "mean", "sum"):
            leaf = Tensor(z, requires_grad=True)
            loss = recurra.cross_entropy(leaf, targets, reduction, **given)
            loss.backward(np.ones_like(loss.data))
            assert leaf.grad is not None
            out |= {reduction: loss.data, f"d{reduction}": leaf.grad}
        return out

    assert_the_same_everywhere(results)


def test_a_target_has_the_same_loss_alone() -> None:
    z, y = array(9, 33).astype(np.float32), np.arange(9)
    together = recurra.cross_entropy(z, y, "none", label_smoothing=0.1).data
    for i in range(9):
        alone = recurra.cross_entropy(z[i], y[i], "none", label_smoothing=0.1)
        assert alone.data == together[i]


# --- cross entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@both_precisions
def test_cross_entropy_of_large_logits(dtype: Any, smoothing: float) -> None:
    z = np.array([[1e4, 0, -1e4]], dtype)
    loss, (dz,) = run(lambda z: recurra.cross_entropy(z, [1], label_smoothing=smoothing), z)
    third = smoothing / 3
    assert loss == pytest.approx(1e4 * (1 - smoothing) + third * 3e4)
    assert dz[0] == pytest.approx([1 - third, -(1 - smoothing) - third, -third])


def test_cross_entropy_of_what_cannot_be() -> None:
    z = np.array([[-inf, 0.0, 0.0], [0.0, -inf, 0.0]])
    loss, (dz,) = run(lambda z: recurra.cross_entropy(z, [1, 1], "none"), z)
    assert loss == [pytest.approx(math.log(2)), inf]
    assert dz == [[0, -0.5, 0.5], [0.5, -1, 0.5]]
    weighed = {"class_weights": [0.0, 1.0, 1.0], "label_smoothing": 0.3}
    loss, (dz,) = run(lambda z: recurra.cross_entropy(z, [1, 2], "none", **weighed), z)
    assert loss == [pytest.approx(0.9 * math.log(2)), inf]
    assert np.isfinite(dz).all()


def test_cross_entropy_of_one_class_is_nothing() -> None:
    loss, (dz,) = run(lambda z: recurra.cross_entropy(z, [0], label_smoothing=0.5), np.ones((1, 1)))
    assert (loss, dz) == (0, [[0]])


def test_nan_stays_in_its_target() -> None:
    z = np.array([[0.0, nan], [0.0, 0.0]])
    loss, (dz,) = run(lambda z: recurra.cross_entropy(z, [0, 1], "none"), z)
    assert np.isnan(loss[0])
    assert np.isnan(dz[0]).all()
    assert np.isfinite([loss[1], *dz[1]]).all()


# --- binary cross entropy


@both_precisions
def test_binary_cross_entropy_of_extreme_logits(dtype: Any) -> None:
    z = np.array([-inf, -1e4, -40, 0, 40, 1e4, inf], dtype)
    for target in (0, 1):
        t = np.full(7, target, dtype)
        loss, (dz,) = run(lambda z, t=t: losses.binary_cross_entropy_with_logits(z, t, "none"), z)
        sign = 1 - 2 * target
        tiny = math.exp(-40)
        expected = [0, 0, tiny, math.log(2), 40, 1e4, inf][::sign]
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        sigmoid = [0, 0, tiny, 0.5, 1, 1, 1][::sign]
        np.testing.assert_allclose(dz, np.array(sigmoid) * sign, rtol=1e-6)


def test_binary_cross_entropy_passes_nan_on() -> None:
    loss, _ = run(
        lambda z: losses.binary_cross_entropy_with_logits(z, [1.0, nan], "none"),
        np.array([nan, 0.0]),
    )
    assert np.isnan(loss).all()


# --- differences


@both_precisions
@pytest.mark.parametrize("name", ["l1", "huber", "mse", "quantile"])
def test_differences_as_large_as_numbers_get(name: str, dtype: Any) -> None:
    largest = float(np.finfo(dtype).max)
    x = np.array([largest, -largest, nan, 0], dtype)
    calls: dict[str, Any] = {
        "l1": lambda p: losses.l1(p, np.zeros(4, dtype), "none"),
        "huber": lambda p: losses.huber(p, np.zeros(4, dtype), "none", delta=0.5),
        "mse": lambda p: losses.mse(p, np.zeros(4, dtype), "none"),
        "quantile": lambda p: losses.quantile(
            p.reshape(4, 1), np.zeros(4, dtype), [0.25], "none"
        ).reshape(4),
    }
    loss, (dx,) = run(calls[name], x)
    expected = {
        "l1": ([largest, largest], [1, -1]),
        "huber": ([largest / 2, largest / 2], [0.5, -0.5]),
        "mse": ([inf, inf], [inf, -inf]),
        "quantile": ([0.75 * largest, 0.25 * largest], [0.75, -0.25]),
    }[name]
    np.testing.assert_allclose(loss[:2], expected[0], rtol=1e-6)
    np.testing.assert_allclose(dx[:2], expected[1])
    assert np.isnan([loss[2], dx[2]]).all()
    assert (loss[3], dx[3]) == (0, 0)


def test_a_huber_loss_over_delta_is_smooth_l1() -> None:
    e = array(50)
    beta = 0.3
    smooth = np.where(np.abs(e) < beta, e * e / (2 * beta), np.abs(e) - beta / 2)
    got = losses.huber(e, np.zeros(50), "none", delta=beta).data / beta
    np.testing.assert_allclose(got, smooth, rtol=1e-14)


def test_quantile_loss_is_least_at_the_quantile() -> None:
    values = np.sort(array(999))
    for q in (0.1, 0.5, 0.9):
        totals = [losses.quantile(np.full((999, 1), v), values, [q], "sum").item() for v in values]
        assert int(np.argmin(totals)) == round(q * 999 - 0.5)


# --- likelihoods


def test_a_variance_of_nothing_counts_as_eps() -> None:
    def call(m: Tensor, v: Tensor) -> Tensor:
        return losses.gaussian_nll(m, [1.0, 1.0], v, "none", eps=1e-4)

    loss, (dm, dv) = run(call, np.zeros(2), np.array([0.0, 1e-4]))
    assert loss[0] == loss[1] == pytest.approx((math.log(1e-4) + 1e4) / 2)
    assert dm == [-1e4, -1e4]
    assert dv[0] == dv[1] == pytest.approx((1e4 - 1e8) / 2)


@pytest.mark.parametrize("alpha", [1e-300, 1e-12, 1e-7, 1e-4, 0.03, 1.0, 50.0, 1e6, 1e30])
@pytest.mark.parametrize("mean", [1e-9, 0.5, 7.0, 1e5])
@pytest.mark.parametrize("count", [0, 1, 2, 30, 1000])
def test_negative_binomial_against_its_sums(count: int, mean: float, alpha: float) -> None:
    """The gamma functions of whole numbers are products: their logarithms are plain sums."""
    k = np.arange(count)
    x = alpha * mean
    rising = math.fsum(np.log1p(alpha * k))
    value = math.lgamma(count + 1) - count * math.log(mean) - rising
    value += count * math.log1p(x) + (math.log1p(x) / alpha if x else mean)

    def call(m: Tensor, a: Tensor) -> Tensor:
        return losses.negative_binomial_nll(m, np.array([float(count)]), a, "none")

    loss, (dm, da) = run(call, np.array([mean]), np.array([alpha]))
    size = max(1, abs(value), count * abs(math.log(mean)), count * math.log(count + 1))
    assert loss[0] == pytest.approx(value, abs=2e-14 * size)
    slope = (mean - count) / (mean * (1 + x))
    assert dm[0] == pytest.approx(slope, abs=1e-14 * max(1, count / mean))
    bend = (
        sum((-x) ** j * (j + 1) / (j + 2) for j in range(60))
        if x < 0.3
        else ((math.log1p(x) - x / (1 + x)) / x**2)
    )
    parts = count * mean / (1 + x), -(mean**2) * bend, -math.fsum(k / (1 + alpha * k))
    assert da[0] == pytest.approx(sum(parts), abs=2e-11 * max(1, *map(abs, parts)))


def test_negative_binomial_at_its_ends() -> None:
    """With alpha 0 it is Poisson's; a mean of 0 allows 0 alone."""

    def call(m: Tensor, a: Tensor) -> Tensor:
        return losses.negative_binomial_nll(m, [3.0, 0.0, 2.0], a, "none")

    loss, (dm, da) = run(call, np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.5, 0.5]))
    assert loss == [pytest.approx(2 - 3 * math.log(2) + math.log(6)), 0, inf]
    assert dm == [pytest.approx(-0.5), 1, -inf]
    assert da[0] == pytest.approx(3 * 2 - 2 - 3)


def test_probabilities_of_counts_add_up_to_one() -> None:
    counts = np.arange(4000.0)
    for mean, alpha in ((0.3, 2.0), (20.0, 0.1), (5.0, 1e-8)):
        nll = losses.negative_binomial_nll(
            np.full(4000, mean), counts, np.full(4000, alpha), "none"
        )
        p = np.exp(-nll.data)
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (p * counts).sum() == pytest.approx(mean, rel=1e-11)
        variance = (p * (counts - mean) ** 2).sum()
        assert variance == pytest.approx(mean + alpha * mean**2, rel=1e-9)


# --- what one weighted loss is not


def test_a_mean_is_over_the_weights() -> None:
    x = np.array([[1.0, 1.0], [2.0, 4.0]])
    loss = losses.mse(x, np.zeros((2, 2)), weights=[3, 1])
    assert loss.item() == (3 * (1 + 1) + 1 * (4 + 16)) / (2 * 3 + 2 * 1)
    z = np.zeros((3, 2))
    weighed = losses.cross_entropy(z, [0, 1, 1], class_weights=[1, 3], weights=[1, 1, 0.5])
    assert weighed.item() == pytest.approx(math.log(2))
