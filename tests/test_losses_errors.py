"""Losses: what is refused, and what the message says."""

import re
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Tensor, losses
from tensor_gradients import array

BCE = "binary_cross_entropy_with_logits"
ENTROPY = {
    "targets above": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 3]),
        IndexError,
        "targets: expected 0 <= id < 3, got 3 at (1,)",
    ),
    "targets below": (
        lambda: recurra.cross_entropy(array(2, 3), [0, -100]),
        IndexError,
        "targets: expected 0 <= id < 3, got -100 at (1,)",
    ),
    "targets beside the ignored one": (
        lambda: recurra.cross_entropy(array(2, 3), [-100, -1], ignore_index=-100),
        IndexError,
        "targets: expected 0 <= id < 3, got -1 at (1,)",
    ),
    "targets with weight 0": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 3], weights=[1, 0]),
        IndexError,
        "targets: expected 0 <= id < 3, got 3 at (1,)",
    ),
    "targets of floats": (
        lambda: recurra.cross_entropy(array(2, 3), [0.0, 1.0]),
        TypeError,
        "targets: expected integers, got float64",
    ),
    "targets of floats, ignored": (
        lambda: recurra.cross_entropy(array(2, 3), [0.0, 1.0], ignore_index=0),
        TypeError,
        "targets: expected integers, got float64",
    ),
    "shape of targets": (
        lambda: recurra.cross_entropy(array(2, 3), [[0, 1]]),
        ValueError,
        "targets: expected shape (2,) for logits (2, 3), got (1, 2)",
    ),
    "reduction": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 1], "all"),
        ValueError,
        "reduction: expected 'none' or 'mean' or 'sum', got 'all'",
    ),
    "no targets": (
        lambda: recurra.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)),
        ValueError,
        "targets: expected at least one element for a mean",
    ),
    "no axis": (
        lambda: recurra.cross_entropy(array(), 0),
        ValueError,
        "logits: expected shape (..., V), got ()",
    ),
    "integer logits": (
        lambda: recurra.cross_entropy(np.zeros((2, 3), int), [0, 1]),
        TypeError,
        "logits: expected float32 or float64, got int64",
    ),
    "all ignored": (
        lambda: recurra.cross_entropy(array(2, 3), [1, 1], ignore_index=1),
        ValueError,
        "targets: expected a sum of weights above 0 for a mean, got 0",
    ),
    "all of weight 0": (
        lambda: recurra.cross_entropy(array(2, 3), [1, 1], weights=[0, 0]),
        ValueError,
        "targets: expected a sum of weights above 0 for a mean, got 0",
    ),
    "all of classes of weight 0": (
        lambda: recurra.cross_entropy(array(2, 3), [1, 1], class_weights=[1, 0, 1]),
        ValueError,
        "targets: expected a sum of weights above 0 for a mean, got 0",
    ),
    "ignore_index": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 1], ignore_index=1.0),  # type: ignore[arg-type]
        TypeError,
        "ignore_index: expected an int or None, got float",
    ),
    "label_smoothing": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 1], label_smoothing=1.0),
        ValueError,
        "label_smoothing: expected 0 <= label_smoothing < 1, got 1.0",
    ),
    "shape of class_weights": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 1], class_weights=[1.0, 1.0]),
        ValueError,
        "class_weights: expected shape (V,) = (3,), got (2,)",
    ),
    "negative class_weights": (
        lambda: recurra.cross_entropy(array(2, 3), [0, 1], class_weights=[1.0, -1.0, 1.0]),
        ValueError,
        "class_weights: expected finite numbers >= 0, got -1.0 at (1,)",
    ),
    "shape of weights": (
        lambda: recurra.cross_entropy(array(2, 4, 3), np.zeros((2, 4), int), weights=np.ones(4)),
        ValueError,
        "weights: expected a shape that (2, 4) begins with, got (4,)",
    ),
}
OTHERS = {
    "mse: shapes": (
        lambda: recurra.mse(array(2, 3), array(3)),
        ValueError,
        "mse: target: expected shape (2, 3) of prediction, got (3,)",
    ),
    "mse: dtypes": (
        lambda: recurra.mse(array(2), array(2).astype(np.float32)),
        TypeError,
        "mse: target: expected float64, got float32",
    ),
    "mse: nothing": (
        lambda: recurra.mse(array(0), array(0)),
        ValueError,
        "mse: prediction: expected at least one element for a mean",
    ),
    "l1: reduction": (
        lambda: losses.l1(array(2), array(2), "max"),
        ValueError,
        "l1: reduction: expected 'none' or 'mean' or 'sum', got 'max'",
    ),
    "weights: trailing": (
        lambda: losses.l1(array(2, 3), array(2, 3), weights=[1, 1, 1]),
        ValueError,
        "l1: weights: expected a shape that (2, 3) begins with, got (3,)",
    ),
    "weights: more axes": (
        lambda: losses.l1(array(2), array(2), weights=np.ones((2, 1))),
        ValueError,
        "l1: weights: expected a shape that (2,) begins with, got (2, 1)",
    ),
    "weights: infinite": (
        lambda: losses.l1(array(2), array(2), weights=[1, np.inf]),
        ValueError,
        "l1: weights: expected finite numbers >= 0, got inf at (1,)",
    ),
    "weights: NaN": (
        lambda: losses.l1(array(2), array(2), weights=[np.nan, 1]),
        ValueError,
        "l1: weights: expected finite numbers >= 0, got nan at (0,)",
    ),
    "weights: complex": (
        lambda: losses.l1(array(2), array(2), weights=[1j, 1]),
        TypeError,
        "l1: weights: expected booleans or real numbers, got complex128",
    ),
    "weights: a tensor": (
        lambda: losses.l1(array(2), array(2), weights=Tensor([1.0, 1.0])),
        TypeError,
        "Tensor: expected an array, got a Tensor; its array is .data",
    ),
    "weights: nothing counts": (
        lambda: losses.l1(array(2), array(2), weights=[False, False]),
        ValueError,
        "l1: weights: expected a sum above 0 for a mean, got 0",
    ),
    "huber: delta": (
        lambda: losses.huber(array(2), array(2), delta=0),
        ValueError,
        "huber: delta: expected 0 < delta < inf, got 0",
    ),
    "huber: delta is no number": (
        lambda: losses.huber(array(2), array(2), delta=np.nan),
        ValueError,
        "huber: delta: expected 0 < delta < inf, got nan",
    ),
    "quantile: levels": (
        lambda: losses.quantile(array(2, 2), array(2), [0.5, 1.0]),
        ValueError,
        "quantile: quantiles: expected 0 < quantile < 1, got [0.5, 1.0]",
    ),
    "quantile: one level": (
        lambda: losses.quantile(array(2, 2), array(2), 0.5),
        ValueError,
        "quantile: quantiles: expected shape (Q,) with Q >= 1, got ()",
    ),
    "quantile: shapes": (
        lambda: losses.quantile(array(2, 2), array(2), [0.5]),
        ValueError,
        "quantile: prediction: expected shape (..., Q) = (2, 1), got (2, 2)",
    ),
    "bce: shapes": (
        lambda: losses.binary_cross_entropy_with_logits(array(2, 2), array(2)),
        ValueError,
        f"{BCE}: target: expected shape of logits = (2, 2), got (2,)",
    ),
    "bce: target": (
        lambda: losses.binary_cross_entropy_with_logits(array(2), [0.0, 2.0]),
        ValueError,
        f"{BCE}: target: expected 0 <= target <= 1, got 2.0 at (1,)",
    ),
    "bce: shape of pos_weight": (
        lambda: losses.binary_cross_entropy_with_logits(array(2), [0.0, 1.0], pos_weight=[1.0]),
        ValueError,
        f"{BCE}: pos_weight: expected shape (C,) = (2,), got (1,)",
    ),
    "bce: negative pos_weight": (
        lambda: losses.binary_cross_entropy_with_logits(array(2), [0.0, 1.0], pos_weight=-1.0),
        ValueError,
        f"{BCE}: pos_weight: expected finite numbers >= 0, got -1.0 at ()",
    ),
    "gaussian: variance": (
        lambda: losses.gaussian_nll(array(2), array(2), np.array([1.0, -1.0])),
        ValueError,
        "gaussian_nll: variance: expected numbers >= 0, got -1.0 at (1,)",
    ),
    "gaussian: shapes": (
        lambda: losses.gaussian_nll(array(2), array(2), array(1)),
        ValueError,
        "gaussian_nll: variance: expected shape of mean = (2,), got (1,)",
    ),
    "gaussian: eps": (
        lambda: losses.gaussian_nll(array(2), array(2), np.ones(2), eps=0),
        ValueError,
        "gaussian_nll: eps: expected 0 < eps < inf, got 0",
    ),
    "negative binomial: target": (
        lambda: losses.negative_binomial_nll(np.ones(2), [1.0, -1.0], np.ones(2)),
        ValueError,
        "negative_binomial_nll: target: expected numbers >= 0, got -1.0 at (1,)",
    ),
    "negative binomial: mean": (
        lambda: losses.negative_binomial_nll(-np.ones(1), [1.0], np.ones(1)),
        ValueError,
        "negative_binomial_nll: mean: expected numbers >= 0, got -1.0 at (0,)",
    ),
    "negative binomial: gradient of counts": (
        lambda: losses.negative_binomial_nll(
            np.ones(1), Tensor([1.0], requires_grad=True), np.ones(1)
        ),
        ValueError,
        "negative_binomial_nll: target: expected counts without gradient, got a tensor with one",
    ),
    "mask: lengths": (
        lambda: losses.sequence_mask([1, 4], 3),
        ValueError,
        "sequence_mask: lengths: expected 0 <= length <= 3, got [1, 4]",
    ),
    "mask: floats": (
        lambda: losses.sequence_mask([1.0, 2.0], 3),
        TypeError,
        "sequence_mask: lengths: expected integers, got float64",
    ),
    "mask: one length": (
        lambda: losses.sequence_mask(2, 3),
        ValueError,
        "sequence_mask: lengths: expected shape (B,), got ()",
    ),
    "mask: steps": (
        lambda: losses.sequence_mask([1], -1),
        ValueError,
        "sequence_mask: steps: expected an int >= 0, got -1",
    ),
}
CASES = {f"cross_entropy: {k}": (c, e, f"cross_entropy: {t}") for k, (c, e, t) in ENTROPY.items()}
CASES |= OTHERS


@pytest.mark.parametrize("name", CASES)
def test_errors(name: str) -> None:
    call, kind, text = CASES[name]
    with pytest.raises(kind, match="^" + re.escape(text) + "$"):
        call()


def test_what_weighs_nothing_is_not_checked() -> None:
    """A padded target may be out of range, where a mask says that it is padding."""
    calls: list[Any] = [
        lambda: losses.binary_cross_entropy_with_logits(array(2), [1.0, -9.0], weights=[1, 0]),
        lambda: losses.gaussian_nll(array(2), array(2), np.array([1.0, -1.0]), weights=[1, 0]),
        lambda: losses.negative_binomial_nll(np.ones(2), [1.0, -1.0], np.ones(2), weights=[1, 0]),
    ]
    for call in calls:
        assert np.isfinite(call().item())


def test_any_integer_can_be_ignored() -> None:
    z = array(2, 3)
    expected = recurra.cross_entropy(z[:1], [1]).item()
    for ignored in (-100, -1, 0, 255, 2**63 - 1, np.int8(-3)):
        targets = np.array([1, ignored], np.int64)
        assert recurra.cross_entropy(z, targets, ignore_index=ignored).item() == expected
    largest = np.array([1, 2**64 - 1], np.uint64)
    assert recurra.cross_entropy(z, largest, ignore_index=2**64 - 1).item() == expected
    for absent in (-1, 2**70, -(2**70)):
        targets = np.array([1], np.uint8)
        assert recurra.cross_entropy(z[:1], targets, ignore_index=absent).item() == expected
