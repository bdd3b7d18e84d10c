"""Batches of rows that are all of one shape."""

from collections.abc import Iterator, Sequence

import numpy as np

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Batch, Lengths, Values
from recurra.data.order import Indices, check_seed
from recurra.data.plan import Plan, cut_by_count

__all__ = ["Arrays"]


class Arrays:
    """Batches of the rows of arrays: views while they stay in order, gathered when shuffled.

    `inputs` (n, T, ...) and `targets` (n, ...) are arrays, or tuples of arrays for several. They
    may be views of what is larger, `create_sequences` makes such, or of a file in memory:
    only the batch that is read is ever copied. `lengths` (n,) are integers 0..T, `weights` (n,) or
    (n, T) floats not below 0.

    With `shuffle`, each epoch reads the rows in an order of its own, from `seed` and the epoch's
    number. A last batch of fewer than `batch_size` rows is left out if `drop_last` is set; then
    there must be a whole one.

    >>> import numpy as np
    >>> from recurra.data import Arrays
    >>> x, y = np.arange(10.0).reshape(5, 2, 1), np.arange(5)
    >>> data = Arrays(x, y, batch_size=2)
    >>> len(data)
    3
    >>> [batch.targets.tolist() for batch in data.epoch(0)]
    [[0, 1], [2, 3], [4]]
    >>> all(np.shares_memory(batch.inputs, x) for batch in data.epoch(0))
    True
    >>> data = Arrays(x, y, batch_size=2, shuffle=True, seed=3)
    >>> sorted(i for batch in data.epoch(0) for i in batch.targets.tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self,
        inputs: object,
        targets: object,
        batch_size: int,
        *,
        lengths: object = None,
        weights: object = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.inputs = _several("inputs", inputs)
        self.targets = _several("targets", targets)
        first = self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs
        size, self._time = len(first), first.shape[1] if first.ndim > 1 else 1
        for name, value in (("inputs", self.inputs), ("targets", self.targets)):
            for array in value if isinstance(value, tuple) else (value,):
                check.check_rows("Arrays", name, len(array), size)
        self.lengths = _lengths(lengths, first)
        self.weights = _weights(weights, first)
        batch_size = checks.size("Arrays", "batch_size", batch_size)
        shuffle = checks.flag("Arrays", "shuffle", shuffle)
        drop_last = checks.flag("Arrays", "drop_last", drop_last)
        if drop_last and size < batch_size:
            raise ValueError(
                f"Arrays: drop_last: expected at least batch_size = {batch_size} rows, got {size}"
            )
        cuts = cut_by_count(size, batch_size, drop_last)
        self._plan = Plan(size, cuts, shuffle, check_seed("Arrays", seed))

    def __len__(self) -> int:
        return len(self._plan.cuts)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0."""
        return map(self._take, self._plan.epoch(number))

    @property
    def seed(self) -> int | None:
        """That of the order; None if rows are not shuffled."""
        return self._plan.seed if self._plan.shuffle else None

    @property
    def steps(self) -> Sequence[int]:
        """The steps that count in each batch, the same numbers in every epoch."""
        if self.lengths is None:
            return [self._time] * len(self)
        return self._plan.steps("Arrays", self.lengths)

    def _take(self, rows: slice | Indices) -> Batch:
        return Batch(
            check.each(self.inputs, lambda array: array[rows]),
            check.each(self.targets, lambda array: array[rows]),
            None if self.lengths is None else self.lengths[rows],
            None if self.weights is None else self.weights[rows],
        )


def _several(argument: str, value: object) -> Values | tuple[Values, ...]:
    check.check_several("Arrays", argument, value)
    arrays: Values | tuple[Values, ...]
    arrays = check.each(value, lambda each: check.as_rows("Arrays", argument, each))
    return arrays


def _lengths(value: object, first: Values) -> Lengths | None:
    if value is None:
        return None
    if first.ndim < 2:
        raise ValueError(f"Arrays: lengths: expected inputs (n, T, ...), got shape {first.shape}")
    return check.lengths_array("Arrays", value, len(first), first.shape[1])


def _weights(value: object, first: Values) -> Values | None:
    if value is None:
        return None
    array = check.weights_array("Arrays", value)
    if array.shape not in (first.shape[:1], first.shape[:2]):
        raise ValueError(
            f"Arrays: weights: expected shape (n,) = {first.shape[:1]} or (n, T) = "
            f"{first.shape[:2]}, got {array.shape}"
        )
    return np.asarray(array)
