"""Plain arrays as batches, for data that is one array of inputs and one of targets."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.data import Batch, Batches
from recurra.random import Generator

__all__ = ["ArrayBatches", "as_batches"]


class ArrayBatches:
    """Rows of `inputs` (N, ...) and `targets` (N, ...), `batch_size` at a time.

    Shuffled anew in every epoch, by `seed` and the epoch's number alone; `seed=None` keeps the
    order. The last batch has what is left over; a batch larger than the data has all of it.

    >>> import numpy as np
    >>> from recurra.train.arrays import ArrayBatches
    >>> data = ArrayBatches(np.arange(5), np.arange(5), batch_size=2, seed=None)
    >>> [batch.inputs.tolist() for batch in data.epoch(0)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, inputs: Any, targets: Any, batch_size: int = 32, seed: int | None = 0
    ) -> None:
        self.inputs, self.targets = np.asarray(inputs), np.asarray(targets)
        self.batch_size = checks.size("fit", "batch_size", batch_size)
        self._seed = seed
        rows = [array.shape[:1] for array in (self.inputs, self.targets)]
        if rows[0] != rows[1] or rows[0] in ((), (0,)):
            raise ValueError(
                "fit: data: expected inputs (N, ...) and targets (N, ...) with N >= 1, got "
                f"{self.inputs.shape} and {self.targets.shape}"
            )

    def __len__(self) -> int:
        return (len(self.inputs) + self.batch_size - 1) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        order = self._permutation(number)
        for first in range(0, len(self.inputs), self.batch_size):
            rows = slice(first, first + self.batch_size)
            chosen: Any = rows if order is None else order[rows]
            yield Batch(self.inputs[chosen], self.targets[chosen])

    def _permutation(self, number: int) -> NDArray[np.int64] | None:
        if self._seed is None:
            return None
        generator = Generator(self._seed)
        generator.set_state({"seed": self._seed, "draws": number})
        return np.argsort(generator.uniform(len(self.inputs), dtype=np.float64), kind="stable")


def as_batches(argument: str, data: Any, batch_size: int, seed: int | None) -> Batches:
    """`data` if it has epochs, or the batches of a pair of arrays."""
    if isinstance(data, tuple) and len(data) == 2 and not hasattr(data, "epoch"):
        return ArrayBatches(*data, batch_size, seed)
    if not (hasattr(data, "epoch") and hasattr(data, "__len__")):
        raise TypeError(
            f"fit: {argument}: expected a pair of arrays, or batches with `epoch(number)` and a "
            f"length, got {type(data).__name__}"
        )
    if not len(data):
        raise ValueError(f"fit: {argument}: expected at least one batch in an epoch, got none")
    batches: Batches = data
    return batches
