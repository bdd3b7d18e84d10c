"""Batches cut in time, for truncated backpropagation."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Batch, Batches, Values

__all__ = ["Chunks", "cut"]


class SteppedBatches(Batches, Protocol):
    """Batches of a known number of steps: `Arrays`, `Sequences`, or a class of one's own."""

    @property
    def steps(self) -> Sequence[int]:
        """The steps of each batch, in any order that is the same in every epoch but for places."""
        ...


class Chunks:
    """The batches of `batches`, each cut into chunks of `window` steps that follow each other.

    A chunk but the first of a batch `carries`: its rows go on where those of the chunk before
    stopped, with the state that they had (truncated backpropagation through time: Williams and
    Peng, 1990). `lengths` say how much of a row is in a chunk, 0 for one that has ended. Every
    input and target is (B, T, ...); all chunks are views.

    Rows of different lengths that are shuffled need `bucket_width=1`, or the number of chunks would
    change from epoch to epoch.

    >>> import numpy as np
    >>> from recurra.data import Arrays, Chunks
    >>> x = np.arange(10.0).reshape(2, 5, 1)
    >>> for batch in Chunks(Arrays(x, x, batch_size=2), window=3).epoch(0):
    ...     print(batch.inputs[..., 0].tolist(), batch.carries)
    [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]] False
    [[3.0, 4.0], [8.0, 9.0]] True
    """

    def __init__(self, batches: SteppedBatches, window: int) -> None:
        self.window = checks.size("Chunks", "window", window)
        steps = getattr(batches, "steps", None)
        if steps is None:
            raise TypeError(
                "Chunks: batches: expected Arrays, Sequences or a class with `steps`, "
                f"got {type(batches).__name__}"
            )
        self.batches = batches
        self.seed: int | None = getattr(batches, "seed", None)
        """That of the order of the batches; None if there is none."""
        self._size: int = sum(-(-count // self.window) for count in steps)

    def __len__(self) -> int:
        return self._size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The chunks of epoch `number`, from 0."""
        for batch in self.batches.epoch(number):
            yield from cut(batch, self.window)


def cut(batch: Batch, window: int) -> Iterator[Batch]:
    """Chunks of `window` steps of a batch, up to the last step of its longest row."""
    steps = _steps(batch)
    stop = steps if batch.lengths is None else max(1, int(batch.lengths.max()))
    for start in range(0, stop, window):
        yield _part(batch, start, min(start + window, stop))


def _part(batch: Batch, start: int, stop: int) -> Batch:
    """The steps `start` to `stop` of a batch: views."""
    inputs, targets, lengths, weights, carries = batch
    if lengths is not None:
        lengths = np.clip(lengths - start, 0, stop - start)
    return Batch(
        check.each(inputs, lambda array: array[:, start:stop]),
        check.each(targets, lambda array: array[:, start:stop]),
        lengths,
        weights[:, start:stop] if weights is not None and weights.ndim > 1 else weights,
        carries=carries or start > 0,
    )


def _steps(batch: Batch) -> int:
    """The steps `T` that all inputs and targets have."""
    first = batch.inputs[0] if isinstance(batch.inputs, tuple) else batch.inputs
    steps = int(first.shape[1]) if first.ndim > 1 else 1

    def check_steps(name: str, array: Values) -> None:
        if array.ndim < 2 or array.shape[1] != steps:
            raise ValueError(
                f"Chunks: {name}: expected (B, T, ...) with T = {steps}, got shape {array.shape}"
            )

    check.each(batch.inputs, lambda array: check_steps("inputs", array))
    check.each(batch.targets, lambda array: check_steps("targets", array))
    return steps
