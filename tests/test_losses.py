"""Losses: reference numbers, gradients, errors."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Tensor
from tensor_gradients import array, check_gradients

GOLDEN = np.load(Path(__file__).parent / "golden" / "torch_losses.npz")
LOSSES: dict[str, Any] = {"cross_entropy": recurra.cross_entropy, "mse": recurra.mse}


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-6)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_golden(name: str, reduction: str, dtype: Any, tolerance: float) -> None:
    case = f"{name}_{reduction}"
    target = GOLDEN[f"{case}/target"]
    target = target if target.dtype.kind == "i" else target.astype(dtype)
    x = Tensor(GOLDEN[f"{case}/input"].astype(dtype), requires_grad=True)
    loss = LOSSES[name](x, target, reduction=reduction)
    loss.backward()
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss.item(), GOLDEN[f"{case}/loss"], rtol=tolerance)
    np.testing.assert_allclose(x.grad, GOLDEN[f"{case}/dinput"], rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
class TestGradients:
    @pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
    def test_cross_entropy(self, lead: tuple[int, ...], reduction: str) -> None:
        targets = np.random.default_rng(0).integers(0, 5, lead)
        check_gradients(
            lambda z: recurra.cross_entropy(z, targets, reduction) * 1.5, array(*lead, 5)
        )

    def test_mse(self, reduction: str) -> None:
        check_gradients(
            lambda a, b: recurra.mse(a, b, reduction) * 1.5, array(2, 3), array(2, 3, seed=1)
        )


def test_cross_entropy_of_large_logits() -> None:
    z = Tensor(np.array([[1e4, 0, -1e4]], np.float32), requires_grad=True)
    loss = recurra.cross_entropy(z, [1])
    assert loss.item() == 1e4
    loss.backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[1, -1, 0]]


def test_empty_sums_are_zero() -> None:
    z = Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = recurra.cross_entropy(z, np.zeros(0, int), "sum")
    assert loss.item() == 0
    loss.backward()
    assert z.grad is not None
    assert z.grad.shape == (0, 3)
    assert recurra.mse(z, np.zeros((0, 3)), "sum").item() == 0


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: recurra.cross_entropy(array(2, 3), [0, 3]),
            IndexError,
            "cross_entropy: targets: expected 0 <= id < 3, got 3 at (1,)",
        ),
        (
            lambda: recurra.cross_entropy(array(2, 3), [0.0, 1.0]),
            TypeError,
            "cross_entropy: targets: expected integers, got float64",
        ),
        (
            lambda: recurra.cross_entropy(array(2, 3), [[0, 1]]),
            ValueError,
            "cross_entropy: targets: expected shape (2,) for logits (2, 3), got (1, 2)",
        ),
        (
            lambda: recurra.cross_entropy(array(2, 3), [0, 1], "all"),
            ValueError,
            "cross_entropy: reduction: expected 'none' or 'mean' or 'sum', got 'all'",
        ),
        (
            lambda: recurra.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)),
            ValueError,
            "cross_entropy: targets: expected at least one element for a mean",
        ),
        (
            lambda: recurra.cross_entropy(array(), 0),
            ValueError,
            "cross_entropy: logits: expected shape (..., V), got ()",
        ),
        (
            lambda: recurra.mse(array(2, 3), array(3)),
            ValueError,
            "mse: target: expected shape (2, 3) of prediction, got (3,)",
        ),
        (
            lambda: recurra.mse(array(2), array(2).astype(np.float32)),
            TypeError,
            "mse: target: expected float64, got float32",
        ),
        (
            lambda: recurra.mse(array(0), array(0)),
            ValueError,
            "mse: prediction: expected at least one element for a mean",
        ),
    ],
)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with raises(kind, text):
        call()
