"""Distances between sequences: edit distance and word error rate."""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, ClassVar, TypeAlias

import numpy as np

from recurra import checks
from recurra.data import Batch
from recurra.metrics.base import Metric
from recurra.metrics.counted import array_of

__all__ = ["EditDistance", "WordErrorRate", "edit_distance", "word_error_rate"]

Sequences: TypeAlias = Sequence[Sequence[Any]]


def edit_distance(a: Any, b: Any) -> int:
    """The fewest insertions, deletions and replacements that turn `a` into `b`.

    Sequences of anything that can be compared and hashed: texts, lists of words, arrays (N,) of
    labels. Time is that of N array operations (Levenshtein, 1966).

    >>> from recurra.metrics import edit_distance
    >>> edit_distance("kitten", "sitting")
    3
    """
    numbers: dict[Any, int] = {}
    x, y = (
        [numbers.setdefault(item, len(numbers)) for item in _items(name, sequence)]
        for name, sequence in (("a", a), ("b", b))
    )
    columns, other = np.arange(len(y) + 1), np.array(y, np.int64)
    costs = columns.copy()
    for i, item in enumerate(x, 1):
        # Deleting or replacing looks at the row above; what remains is inserting: a step to the
        # right costs 1, so it is the least of all costs to the left, each less its column.
        above = np.minimum(costs[1:] + 1, costs[:-1] + (other != item))
        costs = np.minimum.accumulate(np.concatenate(([i], above)) - columns) + columns
    return int(costs[-1])


def word_error_rate(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """Edits of words over the number of reference words, all texts together.

    Texts are split at white space; sequences of words or labels are taken as they are. NaN
    without any reference word.

    >>> from recurra.metrics import word_error_rate
    >>> word_error_rate(["the cat sat", "on mat"], ["the cat sat", "on the mat"])
    0.16666666666666666
    """
    rate = WordErrorRate(predicted=lambda y, _: y, reference=lambda batch: batch.targets)
    rate.update(predictions, Batch(None, references))
    return rate.compute()


class EditDistance(Metric):
    """The mean edit distance of a predicted sequence to its target.

    `predicted(outputs, batch)` and `reference(batch)` give the sequences of a batch. Without
    them, the outputs are scores (B, T, C), labels (B, T) or lists, and the targets labels (B, T)
    or lists, of which arrays are cut to `batch.lengths`. Decode others, such as CTC's, yourself.

    >>> from recurra.data import Batch
    >>> from recurra.metrics import EditDistance
    >>> distance = EditDistance()
    >>> distance.update([[1, 2], [3]], Batch(None, [[1, 2, 4], [3]]))
    >>> distance.compute()
    0.5
    """

    state: ClassVar[dict[str, Any]] = {"edits": 0, "sequences": 0, "items": 0}
    edits: int
    sequences: int
    items: int

    def __init__(
        self,
        predicted: Callable[[Any, Batch], Sequences] | None = None,
        reference: Callable[[Batch], Sequences] | None = None,
    ) -> None:
        self._refuse_others(predicted=predicted, reference=reference)
        self.predicted = predicted or _best_labels
        self.reference = reference or (lambda batch: _cut(batch.targets, batch))
        super().__init__()

    def update(self, outputs: Any, batch: Batch) -> None:
        refuse_weights(type(self).__name__, batch)
        found, wanted = self.predicted(outputs, batch), self.reference(batch)
        for name, sequences in (("outputs", found), ("targets", wanted)):
            checks.instance(type(self).__name__, name, sequences, Sized, "sequences")
        if len(found) != len(wanted):
            raise ValueError(
                f"{type(self).__name__}: outputs: expected {len(wanted)} sequences as the "
                f"targets, got {len(found)}"
            )
        for a, b in zip(found, wanted, strict=True):
            x, y = self.split(a), self.split(b)
            self.edits += edit_distance(x, y)
            self.items += len(y)
        self.sequences += len(wanted)

    def _refuse_others(self, **given: object) -> None:
        for name, value in given.items():
            if value is not None and not callable(value):
                kind, got = type(self).__name__, type(value).__name__
                raise TypeError(f"{kind}: {name}: expected a function, got {got}")

    def split(self, sequence: Any) -> Any:
        """The items to compare."""
        return sequence

    def compute(self) -> float:
        """Edits for each sequence; NaN without any."""
        return self.edits / self.sequences if self.sequences else float("nan")


class WordErrorRate(EditDistance):
    """Edits over the number of items of the targets: words, where the sequences are texts.

    With labels of phones or characters it is the phone or character error rate.
    """

    def split(self, sequence: Any) -> Any:
        return sequence.split() if isinstance(sequence, str) else sequence

    def compute(self) -> float:
        """0 at best, above 1 at worst; NaN without any reference."""
        return self.edits / self.items if self.items else float("nan")


def refuse_weights(operation: str, batch: Batch) -> None:
    """A sequence has no weight of its own."""
    if batch.weights is not None:
        raise ValueError(f"{operation}: weights: expected none, got an array")


def _best_labels(outputs: Any, batch: Batch) -> Sequences:
    if isinstance(outputs, list):
        return outputs
    array = array_of("EditDistance", "outputs", outputs)
    return _cut(array.argmax(-1) if array.ndim == 3 else array, batch)


def _cut(labels: Any, batch: Batch) -> Sequences:
    if isinstance(labels, list) or batch.lengths is None:
        return list(labels)
    pairs = zip(labels, batch.lengths.tolist(), strict=True)
    return [row[:length] for row, length in pairs]


def _items(argument: str, sequence: Any) -> Iterable[Any]:
    items: Any = sequence.tolist() if isinstance(sequence, np.ndarray) else sequence
    found: Iterable[Any] = checks.instance("edit_distance", argument, items, Iterable, "a sequence")
    return found
