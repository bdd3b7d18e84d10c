"""What batches have in them, for the tests of data."""

import numpy as np

from recurra.data import Batch, Batches


def flat(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(i) for batch in batches.epoch(epoch) for i in batch.targets]


def same(a: Batch, b: Batch) -> bool:
    return all(
        x is y or np.array_equal(x, y)  # None is None
        for x, y in zip(a, b, strict=True)
    )
