"""Orders that depend on a seed and an epoch's number alone, the same on every machine."""

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.random import Generator

__all__ = ["Indices", "check_epoch", "check_seed", "permutation"]

Indices = NDArray[np.intp]

# Weights and dropout take the streams of a seed from 0 upwards: orders take its upper half.
FIRST_STREAM = 2**63
STREAMS_AN_EPOCH = 2**8


def check_seed(operation: str, seed: int) -> int:
    """`seed`, an int in 0..2**64-1."""
    return checks.size(operation, "seed", seed, 0, bits=64)


def check_epoch(number: int) -> int:
    """The number of an epoch: each has `STREAMS_AN_EPOCH` of the upper half's streams."""
    return checks.size("epoch", "number", number, 0, bits=55)


def permutation(size: int, seed: int, epoch: int, draw: int = 0) -> Indices:
    """The numbers 0..size-1 in the order of draw `draw` of an epoch.

    They are sorted by random numbers of 53 bits; where two are equal, the smaller comes first.

    >>> from recurra.data.order import permutation
    >>> permutation(6, seed=1, epoch=0)
    array([...])
    """
    generator = Generator(seed)
    stream = FIRST_STREAM + epoch * STREAMS_AN_EPOCH + draw
    generator.set_state({"seed": seed, "draws": stream})
    return np.argsort(generator.uniform(size, dtype=np.float64), kind="stable")
