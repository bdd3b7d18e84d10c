"""Batches of data, as training reads them."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Batches"]

Array = NDArray[np.generic]


class Batch(NamedTuple):
    """Inputs and targets of one step of training."""

    inputs: Any
    """An array (B, T, ...), or a tuple of arrays for several inputs."""
    targets: Any
    """An array, or a tuple of arrays."""
    lengths: Array | None = None
    """(B,) int64; None: all T."""
    weights: Array | None = None
    """(B,) or (B, T): the weight of each target in losses and metrics."""
    carries: bool = False
    """Row i goes on where row i of the batch before stopped (truncated BPTT)."""


class Batches(Protocol):
    """Data in batches, the same ones whenever an epoch is read again."""

    def __len__(self) -> int:
        """The number of batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch: the same for the same number, so that resuming is skipping."""
