"""Losses over classes: softmax over one of them, or a sigmoid for each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks
from recurra.autograd import Operand, Tensor, as_tensor, node
from recurra.losses.reduction import REDUCTIONS, Slope, Weights, as_weights, broadcast, quiet, weigh
from recurra.results import Array


def cross_entropy(
    logits: Tensor | Array,
    targets: object,
    reduction: str = "mean",
    *,
    weights: object = None,
    class_weights: object = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the logarithm of the probability that `softmax(logits)` gives to each target, in nats.

    `logits` (..., V) of any real values; `targets` (...) integers from 0 to V-1, or `ignore_index`,
    any integer, for what counts for nothing; no other is allowed, not even at a weight of 0.
    `weights` and `reduction` ("none", "mean", "sum") are those of `recurra.losses`. `class_weights`
    (V,) weigh each target by its class, also in what a mean divides by. `label_smoothing`, from 0
    to below 1, is the part of every target that is spread over all classes evenly (Szegedy et al.
    2016, "Rethinking the Inception Architecture"); class weights then weigh each class's part.

    A logit of -inf is a class that cannot be: an infinite loss where it is a target.

    >>> import numpy as np
    >>> import recurra
    >>> logits = recurra.Tensor(np.zeros((2, 3, 4)), requires_grad=True)
    >>> loss = recurra.cross_entropy(logits, [[0, 1, 2], [3, -1, -1]], ignore_index=-1)
    >>> print(f"{loss.item():.4f}")
    1.3863
    >>> loss.backward()
    >>> logits.grad[1]
    array([[ 0.0625,  0.0625,  0.0625, -0.1875],
           [ 0.    ,  0.    ,  0.    ,  0.    ],
           [ 0.    ,  0.    ,  0.    ,  0.    ]])
    """
    checks.one_of("cross_entropy", "reduction", reduction, REDUCTIONS)
    checks.within("cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    logits = as_tensor("cross_entropy", "logits", logits)
    index = _classes(logits, targets, ignore_index)
    if reduction == "mean" and index.size == 0:
        raise ValueError("cross_entropy: targets: expected at least one element for a mean")
    losses, gradient = _core.cross_entropy(
        logits.data.reshape(index.size, logits.shape[-1]),
        index.ravel(),
        None if weights is None else _of_rows(weights, index.shape, logits.dtype),
        None if class_weights is None else _of_classes(class_weights, logits),
        None if ignore_index is None else -1,
        label_smoothing,
        reduction,
    )

    def backward(g: Array) -> Array:
        if g.ndim == 0 and g == 1:  # as of a loss alone: no pass over all logits for nothing
            return gradient.reshape(logits.shape)
        return (g.reshape(-1, 1) * gradient).reshape(logits.shape)

    shape = index.shape if reduction == "none" else ()
    return node("cross_entropy", losses.reshape(shape), (logits, backward))


def binary_cross_entropy_with_logits(
    logits: Tensor | Array,
    target: Operand,
    reduction: str = "mean",
    *,
    weights: object = None,
    pos_weight: object = None,
) -> Tensor:
    """The cross entropy, in nats, of yes-or-no targets with probabilities `sigmoid(logits)`.

    `logits` any shape; `target` the same, numbers from 0 to 1. `weights` and `reduction` ("none",
    "mean", "sum") are those of `recurra.losses`. `pos_weight` weighs the part of a target that is
    yes, for classes that are rare: a number, or (C,) for logits (..., C). It is no part of what a
    mean divides by. Computed from softplus, so that nothing overflows; logits of -inf and inf are
    sure of a no and a yes.

    >>> from recurra import Tensor, losses
    >>> logits = Tensor([0.0, 1000.0, -1000.0])
    >>> losses.binary_cross_entropy_with_logits(logits, [1.0, 1.0, 1.0], "none").data
    array([6.93147181e-01, 0.00000000e+00, 1.00000000e+03])
    """
    name = "binary_cross_entropy_with_logits"
    z = as_tensor(name, "logits", logits)
    t = as_tensor(name, "target", target, z.dtype)
    checks.shape(name, "target", t.data, "of logits", z.shape)
    counted = Weights(name, weights, reduction, z.data, "logits")
    _check_probabilities(name, t.data, counted)
    factor = _pos_weight(name, pos_weight, z)
    return counted.node(*_of_probabilities(z, t, factor))


@quiet
def _of_probabilities(z: Tensor, t: Tensor, factor: Array) -> tuple[Array, Slope, Slope]:
    """The elements' losses, and the slopes of logits and targets."""
    yes, no = factor * t.data, 1 - t.data
    small = np.exp(-np.abs(z.data))
    cost_yes, cost_no = (np.log1p(small) + np.maximum(x, 0) for x in (-z.data, z.data))
    values = weigh(yes, cost_yes) + weigh(no, cost_no)

    def slope() -> Array:
        # sigmoid(z) and sigmoid(-z), neither as 1 minus the other, which would round.
        likely, unlikely = 1 / (1 + small), small / (1 + small)
        is_positive = z.data >= 0
        return no * np.where(is_positive, likely, unlikely) - yes * np.where(
            is_positive, unlikely, likely
        )

    return values, (z, slope), (t, lambda: factor * cost_yes - cost_no)


def _classes(logits: Tensor, targets: object, ignore_index: int | None) -> NDArray[np.int64]:
    """A private copy of the targets, -1 where they are ignored."""
    if logits.ndim == 0:
        raise ValueError("cross_entropy: logits: expected shape (..., V), got ()")
    given = np.asarray(targets)
    ignored: NDArray[np.bool_] | None = None
    if ignore_index is not None:
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int | np.integer):
            kind = type(ignore_index).__name__
            raise TypeError(f"cross_entropy: ignore_index: expected an int or None, got {kind}")
        ignored = np.asarray(given == ignore_index)
        if given.dtype.kind in "iu":
            given = np.where(ignored, given.dtype.type(0), given)
    index = checks.index_array("cross_entropy", "targets", given, logits.shape[-1])
    if index.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: targets: expected shape {logits.shape[:-1]} for logits "
            f"{logits.shape}, got {index.shape}"
        )
    if ignored is not None:
        index[ignored] = -1
    return index


def _of_rows(weights: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The weight of each row that the core sees."""
    given = as_weights("cross_entropy", "weights", weights)
    return broadcast("cross_entropy", given, shape).astype(dtype).ravel()


def _of_classes(class_weights: object, logits: Tensor) -> Array:
    given = as_weights("cross_entropy", "class_weights", class_weights)
    checks.shape("cross_entropy", "class_weights", given, "(V,)", logits.shape[-1:])
    return given.astype(logits.dtype)


def _pos_weight(operation: str, pos_weight: object, logits: Tensor) -> Array:
    if pos_weight is None:
        return np.ones((), logits.dtype)
    given = as_weights(operation, "pos_weight", pos_weight)
    if given.ndim:
        checks.shape(operation, "pos_weight", given, "(C,)", logits.shape[-1:])
    return given.astype(logits.dtype)


def _check_probabilities(operation: str, target: Array, weights: Weights) -> None:
    bad = ((target < 0) | (target > 1)) & weights.counts()
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{operation}: target: expected 0 <= target <= 1, got {target[where]} at {where}"
        )
