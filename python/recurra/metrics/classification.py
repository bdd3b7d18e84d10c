"""Accuracy, precision, recall and F1, of labels or scores."""

from typing import Any, ClassVar

import numpy as np

from recurra import checks
from recurra.data import Batch
from recurra.metrics.base import MeanMetric, Metric, weighted_mean
from recurra.metrics.confusion import (
    AVERAGES,
    average,
    confusion_matrix,
    integers,
    predicted_labels,
)
from recurra.metrics.counted import Values, array_of, counted

__all__ = [
    "F1",
    "Accuracy",
    "ConfusionMatrix",
    "Precision",
    "Recall",
    "accuracy",
    "f1",
    "precision",
    "recall",
]


def accuracy(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The part of the targets that was found.

    `outputs` are scores (..., C), logits of class 1 (...) or labels (...) for `targets` (...),
    which are integers from 0 to C-1 if there are scores.

    >>> from recurra.metrics import accuracy
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    truth = array_of("accuracy", "targets", targets)
    return weighted_mean("accuracy", _hits("accuracy", outputs, truth), weights)


def precision(
    outputs: Any, targets: Any, average: str | None = "macro", weights: Any = None
) -> Any:
    """The part of what was taken for a class that is of it.

    `average` is "macro", the mean over the classes that occur in outputs or targets; "micro", of
    all counts together; "weighted", the mean weighted by the number of targets; "binary", that of
    class 1 of two; or None for the array (C,) of all. A class that was never found has 0.

    >>> from recurra.metrics import precision
    >>> precision([0, 1, 1, 1], [0, 0, 1, 1], average="binary")
    0.6666666666666666
    """
    return _score("precision", outputs, targets, average, weights)


def recall(outputs: Any, targets: Any, average: str | None = "macro", weights: Any = None) -> Any:
    """The part of a class that was found; `average` as in `precision`.

    >>> from recurra.metrics import recall
    >>> recall([0, 1, 1, 1], [0, 0, 1, 1], average=None)
    array([0.5, 1. ])
    """
    return _score("recall", outputs, targets, average, weights)


def f1(outputs: Any, targets: Any, average: str | None = "macro", weights: Any = None) -> Any:
    """The harmonic mean of precision and recall; `average` as in `precision`.

    >>> from recurra.metrics import f1
    >>> f1([0, 1, 1, 1], [0, 0, 1, 1], average="binary")
    0.8
    """
    return _score("f1", outputs, targets, average, weights)


def _score(field: str, outputs: Any, targets: Any, how: str | None, weights: Any) -> Any:
    return average(field, confusion_matrix(outputs, targets, None, weights), field, how)


class Accuracy(MeanMetric):
    """The part of the targets that was found: `accuracy` of all batches."""

    def values(self, outputs: Values, targets: Values) -> Values:
        return _hits("Accuracy", outputs, targets)


class ConfusionMatrix(Metric):
    """`confusion_matrix` of all batches; without `num_classes` it grows with the labels seen."""

    state: ClassVar[dict[str, Any]] = {"matrix": np.zeros((0, 0), np.int64)}
    matrix: Values

    def __init__(self, num_classes: int | None = None) -> None:
        if num_classes is not None:
            checks.size(type(self).__name__, "num_classes", num_classes)
        self.num_classes = num_classes
        super().__init__()

    def update(self, outputs: Any, batch: Batch) -> None:
        found, targets, weights = counted(type(self).__name__, outputs, batch)
        more = confusion_matrix(found, targets, self.num_classes, weights)
        size = max(len(more), len(self.matrix))
        self.matrix = _padded(self.matrix, size) + _padded(more, size)

    def compute(self) -> Any:
        """(C, C): row i, column j counts targets of class i taken for class j."""
        return self.matrix


class _Averaged(ConfusionMatrix):
    """A score of the confusion matrix of all batches; `average` as in `precision`."""

    field: ClassVar[str]

    def __init__(self, average: str | None = "macro", num_classes: int | None = None) -> None:
        if average is not None:
            checks.one_of(type(self).__name__, "average", average, AVERAGES)
        self.average = average
        super().__init__(num_classes)

    def compute(self) -> Any:
        """A float, or (C,) with `average=None`; NaN before the first batch."""
        if not len(self.matrix):
            return float("nan")
        return average(type(self).__name__, self.matrix, self.field, self.average)


class Precision(_Averaged):
    """`precision` of all batches."""

    field = "precision"


class Recall(_Averaged):
    """`recall` of all batches."""

    field = "recall"


class F1(_Averaged):
    """`f1` of all batches."""

    field = "f1"


def _hits(operation: str, outputs: Any, targets: Values) -> Values:
    """Which targets were found. One that is no class could be missed only: it is a mistake."""
    array = array_of(operation, "outputs", outputs)
    hits: Values = predicted_labels(operation, array, targets) == targets
    if array.ndim > targets.ndim:
        checks.index_array(operation, "targets", integers(targets), array.shape[-1])
    return hits


def _padded(matrix: Values, size: int) -> Values:
    return np.pad(matrix, (0, size - len(matrix)))
