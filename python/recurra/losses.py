"""Losses: one number to minimise. Both are one node, with the gradient known in closed form."""

import numpy as np

from recurra import _core, checks
from recurra.autograd import Operand, Tensor, as_tensor, node
from recurra.results import Array

__all__ = ["cross_entropy", "mse"]

REDUCTIONS = ("mean", "sum")


def cross_entropy(logits: Tensor | Array, targets: object, reduction: str = "mean") -> Tensor:
    """Minus the logarithm of the probability that `softmax(logits)` gives to each target.

    `logits` (..., V) of any real values, `targets` (...) integers from 0 to V-1; `reduction` is
    "mean" or "sum" over all targets, in nats. Leave out padding by selecting what counts:

    >>> import numpy as np
    >>> import recurra
    >>> logits = recurra.Tensor(np.zeros((2, 3, 4)), requires_grad=True)
    >>> targets, lengths = np.array([[0, 1, 2], [3, 0, 0]]), np.array([3, 1])
    >>> valid = np.arange(3) < lengths[:, None]
    >>> loss = recurra.cross_entropy(logits[valid], targets[valid])
    >>> print(f"{loss.item():.4f}")
    1.3863
    """
    checks.one_of("cross_entropy", "reduction", reduction, REDUCTIONS)
    logits = as_tensor("cross_entropy", "logits", logits)
    if logits.ndim == 0:
        raise ValueError("cross_entropy: logits: expected shape (..., V), got ()")
    classes = logits.shape[-1]
    index = checks.index_array("cross_entropy", "targets", targets, classes)
    if index.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: targets: expected shape {logits.shape[:-1]} for logits "
            f"{logits.shape}, got {index.shape}"
        )
    _refuse_empty_mean("cross_entropy", "targets", index.size, reduction)
    rows = logits.data.reshape(index.size, classes)
    loss, gradient = _core.cross_entropy(rows, index.ravel(), reduction)
    value = np.asarray(loss, logits.dtype)
    return node("cross_entropy", value, (logits, lambda g: (g * gradient).reshape(logits.shape)))


def mse(prediction: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """The squared difference, of which `reduction` takes the "mean" or the "sum".

    Both have one shape; nothing broadcasts.

    >>> import recurra
    >>> recurra.mse(recurra.Tensor([1.0, 2.0]), recurra.Tensor([1.0, 4.0])).item()
    2.0
    """
    checks.one_of("mse", "reduction", reduction, REDUCTIONS)
    a = as_tensor("mse", "prediction", prediction)
    b = as_tensor("mse", "target", target, a.dtype)
    if a.shape != b.shape:
        raise ValueError(f"mse: target: expected shape {a.shape} of prediction, got {b.shape}")
    _refuse_empty_mean("mse", "prediction", a.size, reduction)
    difference = a.data - b.data
    squares = difference * difference
    value = squares.mean() if reduction == "mean" else squares.sum()
    slope = difference * (2 / a.size if reduction == "mean" else 2)
    return node("mse", value, (a, lambda g: g * slope), (b, lambda g: -g * slope))


def _refuse_empty_mean(operation: str, argument: str, size: int, reduction: str) -> None:
    if reduction == "mean" and size == 0:
        raise ValueError(f"{operation}: {argument}: expected at least one element for a mean")
