"""Losses of the difference between a prediction and a target."""

from collections.abc import Callable

import numpy as np

from recurra import _core, checks
from recurra.autograd import Operand, Tensor, as_tensor, core_node
from recurra.losses.reduction import Weights, quiet
from recurra.results import Array


def mse(
    prediction: Operand, target: Operand, reduction: str = "mean", *, weights: object = None
) -> Tensor:
    """The squared difference.

    Both have one shape; nothing broadcasts. `weights` and `reduction` ("none", "mean", "sum") are
    those of `recurra.losses`.

    >>> import recurra
    >>> recurra.mse(recurra.Tensor([1.0, 2.0]), recurra.Tensor([1.0, 4.0])).item()
    2.0
    """
    a, b = _alike("mse", prediction, target)
    counted = Weights("mse", weights, reduction, a.data, "prediction")
    divisor = None if reduction == "none" else counted.divisor
    value, differences = _core.squared_error(a.data, b.data, counted.array, divisor)
    wants_a, wants_b = a.requires_grad, b.requires_grad

    def back(e: Array, g: Array) -> Array:
        return _core.squared_error_backward(e, counted.array, g, counted.divisor)

    def backward(g: Array) -> tuple[Array | None, Array | None]:
        return (
            back(differences, g) if wants_a else None,
            back(-differences, g) if wants_b else None,
        )

    return core_node("mse", (value,), (a, b), backward)[0]


def l1(
    prediction: Operand, target: Operand, reduction: str = "mean", *, weights: object = None
) -> Tensor:
    """The absolute difference; its gradient at 0 is 0.

    Both have one shape; nothing broadcasts. `weights` and `reduction` ("none", "mean", "sum") are
    those of `recurra.losses`.

    >>> from recurra import Tensor, losses
    >>> losses.l1(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()
    1.0
    """
    return _of_difference("l1", prediction, target, reduction, weights, np.abs, np.sign)


def huber(
    prediction: Operand,
    target: Operand,
    reduction: str = "mean",
    *,
    delta: float = 1.0,
    weights: object = None,
) -> Tensor:
    """Half the squared difference up to `delta`, beyond it a straight line (Huber 1964).

    For a difference e it is `e**2 / 2` where `|e| <= delta`, else `delta * (|e| - delta / 2)`: few
    outliers pull less. Divided by `delta` it is what is called smooth L1. Both have one shape;
    nothing broadcasts. `weights` and `reduction` ("none", "mean", "sum") are those of
    `recurra.losses`.

    >>> from recurra import Tensor, losses
    >>> losses.huber(Tensor([0.0, 0.0]), Tensor([0.5, 10.0]), "none").data
    array([0.125, 9.5  ])
    """
    delta = checks.number("huber", "delta", delta)
    if not 0 < delta < np.inf:
        raise ValueError(f"huber: delta: expected 0 < delta < inf, got {delta:g}")

    def value(e: Array) -> Array:
        near = np.minimum(np.abs(e), delta)
        return near * (np.abs(e) - near / 2)

    return _of_difference(
        "huber", prediction, target, reduction, weights, value, lambda e: np.clip(e, -delta, delta)
    )


@quiet
def quantile(
    prediction: Operand,
    target: Operand,
    quantiles: object,
    reduction: str = "mean",
    *,
    weights: object = None,
) -> Tensor:
    """The pinball loss, least where `prediction` is the quantile q of what `target` may be.

    `quantiles` (Q,) numbers above 0 and below 1; `prediction` (..., Q), one for each; `target`
    (...). The loss is `q * e` for a difference `e = target - prediction >= 0`, else `(q - 1) * e`
    (Koenker and Bassett 1978, "Regression Quantiles"); its gradient at 0 is 0. `weights` and
    `reduction` ("none", "mean", "sum") are those of `recurra.losses`: the losses are (..., Q), and
    a mean is one over quantiles too.

    >>> from recurra import Tensor, losses
    >>> prediction = Tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    >>> losses.quantile(prediction, [2.0, 4.0], [0.1, 0.5, 0.9], "none").data
    array([[0.1, 0. , 0.1],
           [0.3, 1. , 0.9]])
    """
    q = _levels(quantiles)
    p = as_tensor("quantile", "prediction", prediction)
    t = as_tensor("quantile", "target", target, p.dtype)
    checks.shape("quantile", "prediction", p.data, "(..., Q)", (*t.shape, q.size))
    counted = Weights("quantile", weights, reduction, p.data, "prediction")
    t = t.reshape(*t.shape, 1)
    q = q.astype(p.dtype)
    e = t.data - p.data
    share = np.where(e > 0, q, 1 - q)
    return counted.node(
        share * np.abs(e), (p, lambda: -share * np.sign(e)), (t, lambda: share * np.sign(e))
    )


def _levels(quantiles: object) -> Array:
    q = np.asarray(quantiles, np.float64)
    if q.ndim != 1 or q.size == 0:
        raise ValueError(f"quantile: quantiles: expected shape (Q,) with Q >= 1, got {q.shape}")
    if not ((q > 0) & (q < 1)).all():
        raise ValueError(f"quantile: quantiles: expected 0 < quantile < 1, got {q.tolist()}")
    return q


@quiet
def _of_difference(
    operation: str,
    prediction: Operand,
    target: Operand,
    reduction: str,
    weights: object,
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
) -> Tensor:
    a, b = _alike(operation, prediction, target)
    counted = Weights(operation, weights, reduction, a.data, "prediction")
    e = a.data - b.data
    return counted.node(value(e), (a, lambda: slope(e)), (b, lambda: -slope(e)))


def _alike(operation: str, prediction: Operand, target: Operand) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape."""
    a = as_tensor(operation, "prediction", prediction)
    b = as_tensor(operation, "target", target, a.dtype)
    if a.shape != b.shape:
        raise ValueError(
            f"{operation}: target: expected shape {a.shape} of prediction, got {b.shape}"
        )
    return a, b
