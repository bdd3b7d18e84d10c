"""What a training step reads, and where it comes from."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Batches", "Lengths", "Values"]

Values = NDArray[Any]
"""An array of numbers of any kind: features, ids or labels."""
Lengths = NDArray[np.int64]


class Batch(NamedTuple):
    """`B` rows of up to `T` time steps, and what a model is to make of them.

    >>> import numpy as np
    >>> from recurra.data import Batch
    >>> batch = Batch(inputs=np.zeros((2, 5, 1)), targets=np.zeros((2, 3)))
    >>> batch.lengths is None, batch.carries
    (True, False)
    """

    inputs: Any
    """(B, T, ...): an array, or a tuple of arrays for several inputs."""
    targets: Any
    """(B, ...) or (B, T, ...): an array, or a tuple of arrays."""
    lengths: Lengths | None = None
    """(B,): the steps that count in each row, from its first; None if all `T` do."""
    weights: Values | None = None
    """(B,) or (B, T): the weight of each target in losses and metrics."""
    carries: bool = False
    """Whether row i goes on where row i of the batch before stopped."""


@runtime_checkable
class Batches(Protocol):
    """A set of rows that training reads again and again, a batch at a time.

    The order depends on a seed and the epoch's number alone. So a training that stopped inside an
    epoch resumes by skipping the batches it had; an attribute `seed`, an int, is kept with it, and
    another one is refused.

    >>> import numpy as np
    >>> from recurra.data import Arrays, Batches
    >>> isinstance(Arrays(np.zeros((3, 5, 1)), np.zeros(3), batch_size=2), Batches)
    True
    """

    def __len__(self) -> int:
        """How many batches an epoch has."""
        ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0: always the same for the same number."""
        ...
