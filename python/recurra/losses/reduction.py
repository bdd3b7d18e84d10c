"""What all losses share: weights, and how the losses of elements become one number."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.autograd import Tensor, fused_node
from recurra.ops.arithmetic import sum_to
from recurra.results import Array

REDUCTIONS = ("none", "mean", "sum")
quiet = np.errstate(all="ignore")
"""What is infinite or NaN, where something weighs it or nothing, is a result like any other."""
Slope: TypeAlias = tuple[Tensor, Callable[[], Array]]
"""An input, and how much each element of the loss grows with it."""


def sequence_mask(lengths: object, steps: int) -> NDArray[np.bool_]:
    """Which of `steps` time steps are within each row's length: (B, T), the `weights` of a loss.

    `lengths` (B,) integers from 0 to `steps`.

    >>> from recurra import losses
    >>> losses.sequence_mask([1, 3], 3)
    array([[ True, False, False],
           [ True,  True,  True]])
    """
    steps = checks.size("sequence_mask", "steps", steps, 0)
    array = checks.array("sequence_mask", "lengths", lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"sequence_mask: lengths: expected integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"sequence_mask: lengths: expected shape (B,), got {array.shape}")
    if ((array < 0) | (array > steps)).any():
        raise ValueError(
            f"sequence_mask: lengths: expected 0 <= length <= {steps}, got {array.tolist()}"
        )
    checks.room("sequence_mask", "steps", (steps,), np.int64)
    return np.arange(steps) < array[:, None]


class Weights:
    """How much each element of `shape` counts, and what the reduction makes of that.

    `array` has the shape and dtype of the losses, and is None if every weight is 1.
    """

    def __init__(
        self, operation: str, weights: object, reduction: str, like: Array, argument: str
    ) -> None:
        checks.one_of(operation, "reduction", reduction, REDUCTIONS)
        self.operation, self.reduction = operation, reduction
        self.array: Array | None = None
        total = float(like.size)
        if weights is not None:
            given = as_weights(operation, "weights", weights)
            self.array = broadcast(operation, given, like.shape).astype(like.dtype)
            total = in_order(given) * (like.size // (given.size or 1))
        if reduction == "mean" and like.size == 0:
            raise ValueError(f"{operation}: {argument}: expected at least one element for a mean")
        if reduction == "mean" and total <= 0:
            raise ValueError(f"{operation}: weights: expected a sum above 0 for a mean, got 0")
        self.divisor = total if reduction == "mean" else 1.0

    def counts(self) -> NDArray[np.bool_]:
        """Where the weight is not 0; one True for everywhere."""
        return np.asarray(True if self.array is None else self.array != 0)

    @quiet
    def node(self, values: Array, *inputs: Slope) -> Tensor:
        """The loss whose elements are `values`.

        Slopes have the shape of `values`; an input that was broadcast to it gets their sum.
        """
        weighted = values if self.array is None else weigh(self.array, values)
        value = weighted
        if self.reduction != "none":
            value = np.asarray(in_order(weighted) / self.divisor, values.dtype)
        parents = [x for x, _ in inputs]
        slopes = [(x.shape, slope) if x.requires_grad else None for x, slope in inputs]

        @quiet
        def backward(g: Array) -> list[Array | None]:
            share = g / self.divisor
            return [each and self._gradient(share, *each) for each in slopes]

        return fused_node(self.operation, (value,), parents, backward)[0]

    def _gradient(self, share: Array, shape: tuple[int, ...], slope: Callable[[], Array]) -> Array:
        each = slope()
        each = share * each if self.array is None else weigh(share * self.array, each)
        return sum_to(each, shape)


def as_weights(operation: str, argument: str, given: object) -> Array:
    """`given` as numbers that can weigh something: finite and not negative; float64 or as given."""
    array = checks.array(operation, argument, given)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{operation}: {argument}: expected booleans or real numbers, got {array.dtype}"
        )
    bad = ~((array >= 0) & (array < np.inf))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{operation}: {argument}: expected finite numbers >= 0, got {array[where]} at {where}"
        )
    # A private copy: the caller may fill the same array again before backward.
    return array.astype(array.dtype if array.dtype in checks.FLOATS else np.float64)


def broadcast(operation: str, weights: Array, shape: tuple[int, ...]) -> Array:
    """`weights` repeated along the axes of `shape` that it has not."""
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(
            f"{operation}: weights: expected a shape that {shape} begins with, got {weights.shape}"
        )
    spread = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.broadcast_to(spread, shape)


def weigh(weights: Array, values: Array) -> Array:
    """`weights * values`, and 0 where the weight is 0, whatever the value is."""
    return np.where(weights == 0, 0, weights * values)


def in_order(values: Array) -> float:
    """The sum from the first element to the last, in float64: zeros in between change no bit."""
    # Converting first takes half as long as an accumulation that converts.
    doubles = values.ravel().astype(np.float64, copy=False)
    return float(np.add.accumulate(doubles)[-1]) if doubles.size else 0.0
