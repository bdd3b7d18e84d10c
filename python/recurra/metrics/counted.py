"""Which targets of a batch count, and how much."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.autograd import Tensor
from recurra.data import Batch
from recurra.losses.reduction import as_weights

__all__ = ["array_of", "counted", "row_weight", "target_weights", "total_weight", "valid_steps"]

Values = NDArray[Any]


def array_of(operation: str, argument: str, value: Any) -> Values:
    """The values of a tensor, or `value` as an array: real numbers or truth values."""
    if isinstance(value, Tensor):
        return value.data
    array = checks.array(operation, argument, value)
    if array.dtype.kind not in "biuf" and array.size:
        raise TypeError(f"{operation}: {argument}: expected real numbers, got {array.dtype}")
    return array


def valid_steps(batch: Batch) -> NDArray[np.bool_] | None:
    """Which targets (B, T, ...) lie within the lengths: (B, T), or None if all count.

    Targets without a time axis, one for each row, all count.

    >>> from recurra.data import Batch
    >>> valid_steps(Batch(np.zeros((2, 3, 1)), np.zeros((2, 3)), lengths=np.array([3, 1])))
    array([[ True,  True,  True],
           [ True, False, False]])
    """
    if batch.lengths is None or not has_time(batch):
        return None
    steps: NDArray[np.bool_] = np.arange(batch.targets.shape[1]) < batch.lengths[:, None]
    return steps


def target_weights(batch: Batch, steps: NDArray[np.bool_] | None) -> Values | None:
    """The weights of a batch, 0 where `steps` (B, T) is false; None if all are 1."""
    if steps is None or batch.weights is None:
        return steps if batch.weights is None else np.asarray(batch.weights)
    weights = np.asarray(batch.weights)
    weights = weights if weights.ndim > 1 else weights[:, None]
    return np.where(steps, weights, 0)


def total_weight(batch: Batch) -> float:
    """How much a batch counts in a mean over batches: its targets, each with its weight."""
    targets = batch.targets[0] if isinstance(batch.targets, tuple) else batch.targets
    if batch.lengths is None and batch.weights is None:
        return float(len(targets) * targets.shape[1] if has_time(batch) else len(targets))
    weights = target_weights(batch, valid_steps(batch))
    if weights is None:  # the lengths are for the inputs alone
        return float(len(targets))
    repeats = targets.shape[1] if weights.ndim == 1 and has_time(batch) else 1
    return float(np.sum(weights, dtype=np.float64)) * repeats


def row_weight(batch: Batch) -> float:
    """How much a batch counts in a mean over rows: its rows, each with its weight."""
    return total_weight(batch._replace(inputs=None, lengths=None))


def has_time(batch: Batch) -> bool:
    """Whether there is a target for each time step of the inputs."""
    inputs = batch.inputs[0] if isinstance(batch.inputs, tuple) else batch.inputs
    wanted = getattr(inputs, "shape", ())[:2]
    return len(wanted) == 2 and getattr(batch.targets, "shape", ())[:2] == wanted


def counted(operation: str, outputs: Any, batch: Batch) -> tuple[Values, Values, Values | None]:
    """The outputs and targets that count, padding left out, and their weights (None: all 1)."""
    if isinstance(outputs, tuple) or isinstance(batch.targets, tuple):
        raise TypeError(
            f"{operation}: outputs and targets: expected one array each, got a tuple; subclass "
            "the metric and choose in `update`"
        )
    found = array_of(operation, "outputs", outputs)
    targets = array_of(operation, "targets", batch.targets)
    weights = _spread(operation, batch.weights, targets)
    steps = valid_steps(batch)
    if steps is None:
        return found, targets, weights
    if found.shape[:2] != steps.shape:
        raise ValueError(
            f"{operation}: outputs: expected shape (B, T, ...) = {steps.shape} as the targets, "
            f"got {found.shape}"
        )
    return found[steps], targets[steps], None if weights is None else weights[steps]


def _spread(operation: str, weights: Any, targets: Values) -> Values | None:
    """Weights (B,) or (B, T) for every element of the targets."""
    if weights is None:
        return None
    array = as_weights(operation, "weights", weights)
    if array.shape != targets.shape[: array.ndim]:
        raise ValueError(
            f"{operation}: weights: expected the first axes of the targets {targets.shape}, "
            f"got {array.shape}"
        )
    array = array.reshape(array.shape + (1,) * (targets.ndim - array.ndim))
    return np.broadcast_to(array, targets.shape)
