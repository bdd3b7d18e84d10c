"""Minus the logarithm of the likelihood of a target, for forecasts that are distributions."""

import math

import numpy as np

from recurra import checks
from recurra.autograd import Operand, Tensor, as_tensor
from recurra.losses.gamma import log_rising, log_rising_slope
from recurra.losses.reduction import Weights, weigh
from recurra.results import Array

SMALL = 0.01
"""Below this a series of eight terms is exact to the last place."""
TINY = 1e-100
"""A shape as small as this is 0 to the last place of everything."""


def gaussian_nll(
    mean: Operand,
    target: Operand,
    variance: Operand,
    reduction: str = "mean",
    *,
    full: bool = False,
    eps: float = 1e-6,
    weights: object = None,
) -> Tensor:
    """`(ln v + (target - mean)**2 / v) / 2` with the variance v (Nix and Weigend 1994).

    All three have one shape; nothing broadcasts. `variance` is not below 0: predict it through
    `ops.softplus` or `ops.exp`. What is below `eps` counts as `eps`, so that no likelihood is
    without bound; the gradient is the one at `eps` then, not 0, so that the variance can leave.
    `full` adds `ln(2 pi) / 2`. `weights` and `reduction` ("none", "mean", "sum") are those of
    `recurra.losses`.

    >>> from recurra import Tensor, losses
    >>> mean, variance = Tensor([0.0, 0.0]), Tensor([1.0, 4.0])
    >>> losses.gaussian_nll(mean, [1.0, 2.0], variance, "none").data
    array([0.5       , 1.19314718])
    """
    name = "gaussian_nll"
    eps, full = checks.number(name, "eps", eps), checks.flag(name, "full", full)
    if not 0 < eps < math.inf:
        raise ValueError(f"{name}: eps: expected 0 < eps < inf, got {eps:g}")
    m = as_tensor(name, "mean", mean)
    t = as_tensor(name, "target", target, m.dtype)
    v = as_tensor(name, "variance", variance, m.dtype)
    _check_shapes(name, m, target=t, variance=v)
    counted = Weights(name, weights, reduction, m.data, "mean")
    _refuse_negative(name, "variance", v, counted)
    with np.errstate(all="ignore"):
        e, floor = m.data - t.data, np.maximum(v.data, eps)
        ratio = e / floor
        values = (np.log(floor) + e * ratio) / 2 + (math.log(2 * math.pi) / 2 if full else 0)
    return counted.node(
        values,
        (m, lambda: ratio),
        (t, lambda: -ratio),
        (v, lambda: (1 / floor - ratio * ratio) / 2),
    )


def negative_binomial_nll(
    mean: Operand,
    target: Operand,
    alpha: Operand,
    reduction: str = "mean",
    *,
    weights: object = None,
) -> Tensor:
    """Minus the logarithm of the probability of counts under a negative binomial distribution.

    In the parametrisation of Salinas, Flunkert, Gasthaus and Januschowski 2020, "DeepAR", with the
    mean m and the shape a, neither below 0 (predict them through `ops.softplus`), the variance of a
    count z is `m + a * m**2`, and its likelihood is `gamma(z + 1/a) / (gamma(z + 1) * gamma(1/a))
    * (1 / (1 + a*m))**(1/a) * (a*m / (1 + a*m))**z`. With a = 0 it is Poisson's.

    `mean`, `target` and `alpha` have one shape; nothing broadcasts. `target` is not below 0 and
    gets no gradient; counts are whole, but between them the formula goes on. `weights` and
    `reduction` ("none", "mean", "sum") are those of `recurra.losses`. Computed in float64 whatever
    the precision, from differences that do not cancel.

    >>> from recurra import Tensor, losses
    >>> mean, alpha = Tensor([2.0, 2.0]), Tensor([0.5, 1e-9])
    >>> print(losses.negative_binomial_nll(mean, [3.0, 3.0], alpha, "none").data.round(4))
    [2.0794 1.7123]
    """
    name = "negative_binomial_nll"
    m = as_tensor(name, "mean", mean)
    t = as_tensor(name, "target", target, m.dtype)
    a = as_tensor(name, "alpha", alpha, m.dtype)
    _check_shapes(name, m, target=t, alpha=a)
    if t.requires_grad:
        raise ValueError(f"{name}: target: expected counts without gradient, got a tensor with one")
    counted = Weights(name, weights, reduction, m.data, "mean")
    for argument, x in (("mean", m), ("target", t), ("alpha", a)):
        _refuse_negative(name, argument, x, counted)
    law = _NegativeBinomial(m.data, t.data, a.data)
    return counted.node(law.values(), (m, law.slope_of_mean), (a, law.slope_of_alpha))


class _NegativeBinomial:
    """Minus the logarithm of the likelihood of `z`, and its slopes.

    With r = 1/a and x = a*m it is `ln z! - z ln m + (z + r) ln(1 + x)` minus the sum of
    `ln(1 + k/r)` for k < z, all of which stay finite as a goes to 0.
    """

    def __init__(self, mean: Array, target: Array, alpha: Array) -> None:
        self.dtype = mean.dtype
        self.m, self.z, a = (array.astype(np.float64) for array in (mean, target, alpha))
        a = np.maximum(a, TINY)
        self.r = 1 / a
        self.x = a * self.m

    def values(self) -> Array:
        m, z, r = self.m, self.z, self.r
        with np.errstate(all="ignore"):
            values = log_rising(z, 1.0) - weigh(z, np.log(m))
            return self._rounded(values + (z + r) * np.log1p(self.x) - log_rising(z, r))

    def slope_of_mean(self) -> Array:
        return self._rounded((1 - weigh(self.z, 1 / self.m)) / (1 + self.x))

    def slope_of_alpha(self) -> Array:
        m, z, x = self.m, self.z, self.x
        return self._rounded(z * m / (1 + x) - self._bend() + log_rising_slope(z, self.r))

    def _bend(self) -> Array:
        """`r**2 (ln(1 + x) - x / (1 + x))`, of which only `m**2 / 2` is left at x = 0."""
        x, series = self.x, np.zeros_like(self.x)
        for k in range(9, 1, -1):
            series = (k - 1) / k - x * series
        direct = self.r * self.r * (np.log1p(x) - x / (1 + x))
        return np.where(x < SMALL, self.m * self.m * series, direct)

    def _rounded(self, array: Array) -> Array:
        return array.astype(self.dtype)


def _check_shapes(operation: str, mean: Tensor, **others: Tensor) -> None:
    for argument, tensor in others.items():
        checks.shape(operation, argument, tensor.data, "of mean", mean.shape)


def _refuse_negative(operation: str, argument: str, tensor: Tensor, weights: Weights) -> None:
    bad = (tensor.data < 0) & weights.counts()
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{operation}: {argument}: expected numbers >= 0, got {tensor.data[where]} at {where}"
        )
