"""Metrics of predicted distributions: perplexity and bits per character."""

import math
from typing import Any

import numpy as np

from recurra import checks
from recurra.metrics.base import MeanMetric, weighted_mean
from recurra.metrics.counted import Values, array_of

__all__ = [
    "BitsPerCharacter",
    "Perplexity",
    "bits_per_character",
    "log_softmax",
    "perplexity",
    "surprise",
]


def log_softmax(logits: Any) -> Values:
    """The logarithm of softmax over the last axis, in float64."""
    values = array_of("log_softmax", "logits", logits).astype(np.float64)
    values = values - values.max(-1, keepdims=True)
    logarithms: Values = values - np.log(np.exp(values).sum(-1, keepdims=True))
    return logarithms


def surprise(operation: str, logits: Any, targets: Any) -> Values:
    """Minus the logarithm of the probability of each target (...), in nats, by logits (..., C)."""
    array = array_of(operation, "outputs", logits)
    if not array.ndim or not array.shape[-1]:
        raise ValueError(f"{operation}: outputs: expected logits (..., C), got {array.shape}")
    index = checks.index_array(
        operation, "targets", array_of(operation, "targets", targets), array.shape[-1]
    )
    if index.shape != array.shape[:-1]:
        raise ValueError(
            f"{operation}: targets: expected shape {array.shape[:-1]} for outputs {array.shape}, "
            f"got {index.shape}"
        )
    return -np.take_along_axis(log_softmax(array), index[..., None], -1)[..., 0]


def perplexity(outputs: Any, targets: Any, weights: Any = None) -> float:
    """e to the mean surprise in nats: among how many equally likely classes it is to choose.

    `outputs` are logits (..., C) for `targets` (...), integers from 0 to C-1.

    >>> import numpy as np
    >>> from recurra.metrics import perplexity
    >>> round(perplexity(np.zeros((2, 4)), [0, 3]), 6)
    4.0
    """
    values = surprise("perplexity", outputs, targets)
    return float(np.exp(weighted_mean("perplexity", values, weights)))


def bits_per_character(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The mean surprise in bits; arguments as in `perplexity`.

    >>> import numpy as np
    >>> from recurra.metrics import bits_per_character
    >>> bits_per_character(np.zeros((2, 4)), [0, 3])
    2.0
    """
    values = surprise("bits_per_character", outputs, targets)
    return weighted_mean("bits_per_character", values, weights) / math.log(2)


class _Surprise(MeanMetric):
    def values(self, outputs: Values, targets: Values) -> Values:
        return surprise(type(self).__name__, outputs, targets)


class Perplexity(_Surprise):
    """`perplexity` of all batches."""

    def compute(self) -> float:
        """1 at best; infinite where the exponential overflows."""
        with np.errstate(over="ignore"):
            return float(np.exp(super().compute()))


class BitsPerCharacter(_Surprise):
    """`bits_per_character` of all batches."""

    def compute(self) -> float:
        """0 at best."""
        return super().compute() / math.log(2)
