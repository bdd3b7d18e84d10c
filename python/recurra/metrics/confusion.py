"""The confusion matrix, and what is read off it: precision, recall and F1."""

from typing import Any, NamedTuple

import numpy as np

from recurra import checks
from recurra.losses.reduction import as_weights
from recurra.metrics.counted import Values, array_of

__all__ = [
    "AVERAGES",
    "Scores",
    "average",
    "confusion_matrix",
    "integers",
    "predicted_labels",
    "scores",
]

AVERAGES = ("macro", "micro", "weighted", "binary")


def predicted_labels(operation: str, outputs: Any, targets: Values) -> Values:
    """The class that `outputs` mean for each target.

    Scores (..., C) mean the largest, the first of equal ones; one real number for each target
    means class 1 where it is above 0, as a logit; integers and truth values are labels.
    """
    array = array_of(operation, "outputs", outputs)
    if array.ndim == targets.ndim + 1 and array.shape[:-1] == targets.shape and array.shape[-1]:
        labels: Values = array.argmax(-1)
        return labels
    if array.shape != targets.shape:
        raise ValueError(
            f"{operation}: outputs: expected shape {targets.shape} of the targets, or one axis of "
            f"scores more, got {array.shape}"
        )
    return array > 0 if array.dtype.kind == "f" else array


def confusion_matrix(
    outputs: Any, targets: Any, num_classes: int | None = None, weights: Any = None
) -> Values:
    """How often a target of class i (row) was taken for class j (column): (C, C).

    `outputs` are scores (..., C), logits of class 1 (...) or labels (...) for `targets` (...),
    integers from 0. C is `num_classes`, the number of scores, or one more than the largest label.
    Counts are int64, or float64 sums of `weights` (...).

    >>> from recurra.metrics import confusion_matrix
    >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 1, 1]])
    """
    operation = "confusion_matrix"
    found, truth = (
        array_of(operation, *each) for each in (("outputs", outputs), ("targets", targets))
    )
    labels = predicted_labels(operation, found, truth)
    if num_classes is None:
        scored = found.shape[-1] if found.ndim > truth.ndim else 0
        classes = max(scored, 1 + _largest(labels), 1 + _largest(truth))
    else:
        classes = checks.size(operation, "num_classes", num_classes)
    checks.room(operation, "num_classes", (classes, classes), np.float64)
    i = checks.index_array(operation, "targets", integers(truth), classes).ravel()
    j = checks.index_array(operation, "outputs", integers(labels), classes).ravel()
    factors = None if weights is None else as_weights(operation, "weights", weights)
    if factors is not None:
        checks.shape(operation, "weights", factors, "of the targets", truth.shape)
        factors = factors.ravel()
    cells = np.bincount(i * classes + j, factors, classes * classes)
    return cells.reshape(classes, classes)


class Scores(NamedTuple):
    """What a confusion matrix says of each class (C,); 0 where nothing was to divide by."""

    precision: Values
    recall: Values
    f1: Values
    support: Values
    """The weight of the targets."""


def scores(matrix: Values) -> Scores:
    """Precision, recall, F1 and support of each class."""
    hits, taken, support = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    return Scores(
        _ratio(hits, taken), _ratio(hits, support), _ratio(2 * hits, taken + support), support
    )


def average(operation: str, matrix: Values, field: str, how: str | None) -> Any:
    """One of the `Scores` over all classes: see `precision`."""
    if how is None:
        return getattr(scores(matrix), field)
    checks.one_of(operation, "average", how, AVERAGES)
    if how == "micro":  # every wrong target is one false positive and one false negative
        return float(_ratio(np.trace(matrix), matrix.sum()))
    found = scores(matrix)
    values = getattr(found, field)
    if how == "binary":
        if len(matrix) > 2:
            raise ValueError(
                f"{operation}: average: expected 'macro', 'micro', 'weighted' or None for "
                f"{len(matrix)} classes, got 'binary'"
            )
        return float(values[1]) if len(values) == 2 else 0.0
    seen = found.support + matrix.sum(0) > 0
    if how == "macro":  # a class that neither is nor was found says nothing
        return float(values[seen].mean()) if seen.any() else float("nan")
    return float(_ratio((values * found.support).sum(), found.support.sum()))


def _ratio(a: Any, b: Any) -> Values:
    ratio: Values = np.divide(a, b, out=np.zeros(np.shape(b)), where=np.asarray(b) > 0)
    return ratio


def _largest(labels: Values) -> int:
    """The largest label; one that is none is left to be refused."""
    largest = labels.max() if labels.size else 0
    return int(largest) if np.isfinite(largest) else 0


def integers(labels: Values) -> Values:
    """Truth values, and floats without a fraction, as integers; anything else as it is."""
    is_whole = labels.dtype == bool or (labels.dtype.kind == "f" and (labels == labels // 1).all())
    return labels.astype(np.int64) if is_whole else labels
