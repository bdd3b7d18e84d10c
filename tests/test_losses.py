"""Losses: reference numbers, gradients, and what weights mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from loss_cases import CASES, QUANTILES, Case
from recurra import Tensor, losses
from tensor_gradients import array, check_gradients

GOLDEN = np.load(Path(__file__).parent / "golden" / "torch_losses.npz")
REDUCTIONS = ("none", "mean", "sum")
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)

Arrays = dict[str, Any]


# --- golden numbers


def cross_entropy(c: Arrays, r: str, **options: Any) -> Tensor:
    ignored = -100 if (c["target"] == -100).any() else None
    return recurra.cross_entropy(
        c["input"],
        c["target"],
        r,
        weights=c.get("weights"),
        class_weights=c.get("weight"),
        ignore_index=ignored,
        **options,
    )


def bce(c: Arrays, r: str) -> Tensor:
    return losses.binary_cross_entropy_with_logits(
        c["input"], c["target"], r, pos_weight=c.get("pos_weight")
    )


def gaussian(c: Arrays, r: str, **options: Any) -> Tensor:
    return losses.gaussian_nll(c["input"], c["target"], c["variance"], r, **options)


LOSSES: dict[str, Any] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_ignore": cross_entropy,
    "cross_entropy_weight": cross_entropy,
    "cross_entropy_smooth": lambda c, r: cross_entropy(c, r, label_smoothing=0.1),
    "cross_entropy_all": lambda c, r: cross_entropy(c, r, label_smoothing=0.2),
    "cross_entropy_weights": lambda c, r: cross_entropy(c, r, label_smoothing=0.2),
    "mse": lambda c, r: recurra.mse(c["input"], c["target"], r),
    "mse_weights": lambda c, r: recurra.mse(c["input"], c["target"], r, weights=c["weights"]),
    "l1": lambda c, r: losses.l1(c["input"], c["target"], r),
    "huber": lambda c, r: losses.huber(c["input"], c["target"], r, delta=0.7),
    "bce_with_logits": bce,
    "bce_with_logits_pos_weight": bce,
    "gaussian_nll": lambda c, r: gaussian(c, r, eps=0.1),
    "gaussian_nll_full": lambda c, r: gaussian(c, r, full=True),
    "negative_binomial_nll": lambda c, r: losses.negative_binomial_nll(
        c["input"], c["target"], c["alpha"], r
    ),
    "quantile": lambda c, r: losses.quantile(c["input"], c["target"], QUANTILES, r),
}


def test_every_golden_case_has_a_test() -> None:
    cases = {key.split("/")[0] for key in GOLDEN}
    assert cases == {f"{name}_{reduction}" for name in LOSSES for reduction in REDUCTIONS}


# In units of the largest number: rounding of float64, and of float32.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 2e-14), (np.float32, 4e-6)])
@every_reduction
@pytest.mark.parametrize("name", LOSSES)
def test_golden(name: str, reduction: str, dtype: Any, tolerance: float) -> None:
    key = f"{name}_{reduction}/"
    case: Arrays = {k.removeprefix(key): GOLDEN[k] for k in GOLDEN if k.startswith(key)}
    answers = {k: case.pop(k) for k in list(case) if k == "loss" or k.startswith("d")}
    case = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in case.items()}
    leaves = {k[1:]: Tensor(case[k[1:]], requires_grad=True) for k in answers if k != "loss"}
    loss = LOSSES[name](case | leaves, reduction)
    loss.backward(case.get("upstream"))
    assert loss.dtype == dtype
    got = {"loss": loss.data} | {f"d{k}": leaf.grad for k, leaf in leaves.items()}
    for k, expected in answers.items():
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(got[k], expected, rtol=0, atol=tolerance * scale, err_msg=k)


# --- gradients


@pytest.mark.parametrize("weights", [None, "rows", "steps"])
@every_reduction
@every_case
def test_gradients(case: Case, reduction: str, weights: str | None) -> None:
    drawn, rest = case.arguments()
    given = {None: None, "rows": array(3, seed=7) ** 2, "steps": array(3, 4, seed=7) ** 2}[weights]
    check_gradients(lambda *x: case.call(*x, *rest, reduction, weights=given) * 1.5, *drawn)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3, 2)])
@every_reduction
def test_cross_entropy_of_any_leading_axes(lead: tuple[int, ...], reduction: str) -> None:
    targets = np.random.default_rng(0).integers(0, 5, lead)
    check_gradients(lambda z: recurra.cross_entropy(z, targets, reduction), array(*lead, 5))
    assert recurra.cross_entropy(array(*lead, 5), targets, "none").shape == lead


def test_a_sum_of_weighted_losses_has_the_sum_of_their_gradients() -> None:
    x, y = array(3, 4, 5), np.zeros((3, 4), int)

    def both(z: Tensor, a: Tensor) -> Tensor:
        return recurra.cross_entropy(z, y) + 0.3 * losses.l1(a, array(3, seed=1)) * a.mean()

    check_gradients(both, x, array(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@every_reduction
def test_mse_has_the_bits_of_numpy(reduction: str, weighted: bool, dtype: Any) -> None:
    p, t = (array(7, 5, 9, seed=s).astype(dtype)[:, ::2].transpose(0, 2, 1) for s in (1, 2))
    weights = array(7, seed=3) ** 2 if weighted else None
    w = (
        np.ones_like(p)
        if weights is None
        else np.ones_like(p) * weights.astype(dtype)[:, None, None]
    )
    a, b = Tensor(p, requires_grad=True), Tensor(t, requires_grad=True)
    loss = losses.mse(a, b, reduction, weights=weights) * 3
    e = p - t
    each = w * (e * e)
    total = p.size if weights is None else np.add.accumulate(weights)[-1] * 27
    divisor = total if reduction == "mean" else 1
    if reduction == "none":
        expected = each * dtype(3)
    else:
        total = np.add.accumulate(each.ravel(), dtype=np.float64)[-1]
        expected = dtype(total / divisor) * dtype(3)
    loss.backward(np.ones(loss.shape, dtype))
    np.testing.assert_array_equal(loss.data, expected)
    gradient = dtype(3) / dtype(divisor) * w * (2 * e)
    np.testing.assert_array_equal(a.grad, gradient)
    np.testing.assert_array_equal(b.grad, -gradient)


# --- weights and reductions


@every_case
def test_reductions_agree(case: Case) -> None:
    drawn, rest = case.arguments()
    weights = array(3, seed=7) ** 2
    each, mean, total = (case.call(*drawn, *rest, r, weights=weights) for r in REDUCTIONS)
    np.testing.assert_allclose(total.item(), each.data.sum(), rtol=1e-14)
    ones = case.call(*drawn, *rest, "none").data
    spread = weights.reshape(3, *[1] * (ones.ndim - 1))
    np.testing.assert_allclose(each.data, spread * ones, rtol=1e-14)
    if not case.name.startswith("cross_entropy_"):  # there classes and what is ignored count too
        divisor = np.broadcast_to(spread, ones.shape).sum()
        np.testing.assert_allclose(mean.item(), total.item() / divisor, rtol=1e-14)


@every_case
def test_weights_of_one_change_nothing(case: Case) -> None:
    drawn, rest = case.arguments()
    for weights in (np.ones(3), np.ones((3, 4), bool), np.ones((3, 4), np.int8), [1.0, 1, 1]):
        for reduction in REDUCTIONS:
            got = case.call(*drawn, *rest, reduction, weights=weights)
            assert (got.data == case.call(*drawn, *rest, reduction).data).all()


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_padding_changes_no_bit(case: Case, reduction: str, dtype: Any) -> None:
    """What has weight 0 may be anything; loss and gradients are those without it."""
    lengths, steps = [2, 4, 0], 6
    mask = losses.sequence_mask(lengths, steps)
    drawn, rest = case.arguments((3, steps))
    drawn = [a.astype(dtype) for a in drawn]
    rest = [a if a.dtype.kind == "i" else a.astype(dtype) for a in rest]

    def run(pick: Any, weights: Any) -> tuple[Tensor, list[np.ndarray]]:
        leaves = [Tensor(pick(a), requires_grad=True) for a in drawn]
        loss = case.call(*leaves, *(pick(a) for a in rest), reduction, weights=weights)
        loss.backward()
        return loss, [leaf.grad for leaf in leaves if leaf.grad is not None]

    def garbage(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        a[~mask] = 0 if a.dtype.kind == "i" else np.nan
        return a

    loss, gradients = run(lambda a: a[mask], None)
    padded, padded_gradients = run(garbage, mask)
    assert padded.data == loss.data
    for of_all, wanted in zip(padded_gradients, gradients, strict=True):
        assert (of_all[mask] == wanted).all()
        assert (of_all[~mask] == 0).all()


def test_empty_sums_are_zero() -> None:
    z = Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = recurra.cross_entropy(z, np.zeros(0, int), "sum")
    assert loss.item() == 0
    loss.backward()
    assert z.grad is not None
    assert z.grad.shape == (0, 3)
    for case in CASES:
        drawn, rest = case.arguments((0, 4))
        assert case.call(*drawn, *rest, "sum").item() == 0
        assert case.call(*drawn, *rest, "none").size == 0


def test_a_sum_may_weigh_nothing() -> None:
    for case in CASES:
        drawn, rest = case.arguments()
        assert case.call(*drawn, *rest, "sum", weights=np.zeros(3)).item() == 0


def test_weights_and_targets_are_copied() -> None:
    weights, targets = np.array([1.0, 2.0]), np.array([0, 1])
    x = Tensor(array(2, 3), requires_grad=True)
    expected = Tensor(x.data.copy(), requires_grad=True)
    loss = losses.mse(x, np.zeros((2, 3)), weights=weights) + recurra.cross_entropy(x, targets)
    weights[:], targets[:] = 0, 2
    loss.backward()
    again = losses.mse(expected, np.zeros((2, 3)), weights=[1, 2])
    (again + recurra.cross_entropy(expected, [0, 1])).backward()
    assert x.grad is not None
    assert (x.grad == expected.grad).all()


def test_masks() -> None:
    assert losses.sequence_mask([0, 2], 2).tolist() == [[False, False], [True, True]]
    assert losses.sequence_mask(np.array([], int), 3).shape == (0, 3)
    assert losses.sequence_mask([0, 0], 0).shape == (2, 0)
