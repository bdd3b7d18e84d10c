"""The area under the receiver operating characteristic."""

from typing import Any, ClassVar

import numpy as np

from recurra import checks
from recurra.data import Batch
from recurra.losses.reduction import as_weights
from recurra.metrics.base import Metric
from recurra.metrics.confusion import integers
from recurra.metrics.counted import Values, array_of, counted
from recurra.metrics.likelihood import log_softmax

__all__ = ["AUC", "auc"]


def auc(outputs: Any, targets: Any, weights: Any = None) -> float:
    """How probable a target of class 1 scores above one of class 0; equal scores count half.

    `outputs` (N,) are scores of any monotone scale, `targets` (N,) 0 and 1. With logits (N, C) it
    is the mean over the C classes of each against the rest, by its probability (softmax). NaN
    where a class is missing (Hanley and McNeil, 1982).

    >>> from recurra.metrics import auc
    >>> auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    scores, truth = array_of("auc", "outputs", outputs), array_of("auc", "targets", targets)
    factors = np.ones(truth.shape) if weights is None else as_weights("auc", "weights", weights)
    checks.shape("auc", "weights", factors, "of the targets", truth.shape)
    if scores.shape == truth.shape:
        labels = checks.index_array("auc", "targets", integers(truth), 2)
        return _area(scores.ravel(), labels.ravel() == 1, factors.ravel())
    if scores.ndim != truth.ndim + 1 or scores.shape[:-1] != truth.shape:
        raise ValueError(
            f"auc: outputs: expected shape {truth.shape} or {(*truth.shape, 'C')}, "
            f"got {scores.shape}"
        )
    classes = scores.shape[-1]
    labels = checks.index_array("auc", "targets", integers(truth), classes).ravel()
    chances = log_softmax(scores).reshape(-1, classes)
    return float(
        np.mean([_area(chances[:, c], labels == c, factors.ravel()) for c in range(classes)])
    )


def _area(scores: Values, is_one: Values, weights: Values) -> float:
    """The weight of pairs in the right order, over that of all pairs."""
    if np.isnan(scores).any():
        return float("nan")
    _, level = np.unique(scores, return_inverse=True)
    ones = np.bincount(level, weights * is_one)
    zeros = np.bincount(level, weights * ~is_one)
    below = np.cumsum(zeros) - zeros
    pairs = ones.sum() * zeros.sum()
    return float((ones * (below + zeros / 2)).sum() / pairs) if pairs else float("nan")


class AUC(Metric):
    """`auc` of all batches. It keeps every score: memory grows with the data."""

    state: ClassVar[dict[str, Any]] = {"scores": [], "targets": [], "weights": []}
    scores: list[Values]
    targets: list[Values]
    weights: list[Values]

    def update(self, outputs: Any, batch: Batch) -> None:
        found, targets, weights = counted("AUC", outputs, batch)
        ones = np.ones(targets.size) if weights is None else weights.ravel().astype(np.float64)
        flat = found.reshape(targets.size, *found.shape[targets.ndim :])
        self.scores = [*self.scores, flat.astype(np.float64)]
        self.targets = [*self.targets, integers(targets.ravel())]
        self.weights = [*self.weights, ones]

    def compute(self) -> float:
        """From 0 to 1; NaN where a class is missing."""
        if not self.scores:
            return float("nan")
        parts = self.scores, self.targets, self.weights
        return auc(*(np.concatenate(part) for part in parts))
