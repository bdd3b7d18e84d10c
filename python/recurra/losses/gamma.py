"""Logarithms of quotients of the gamma function, without the cancellation of their parts.

From Stirling's series, `ln gamma(x) = (x - 1/2) ln x - x + ln(2 pi)/2 + 1/(12 x) - 1/(360 x**3)
+ ...` (Abramowitz and Stegun 1964, 6.1.41), at arguments moved up by `SHIFT` with
`gamma(x + 1) = x gamma(x)`. Arrays are float64, not below 0.
"""

import numpy as np

from recurra.results import Array

SHIFT = 8
"""From here on the terms below give the series to the last place."""
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""B2, B4, ..."""
FEW = 1e-5
"""A z / r below this is small: three terms of a series in it are exact to the last place."""

quiet = np.errstate(all="ignore")
"""What overflows on the way is divided by, or stands where another formula is taken."""


@quiet
def log_rising(z: Array, r: Array | float) -> Array:
    """`ln(gamma(z + r) / (gamma(r) * r**z))`, for a whole z the sum of `ln(1 + k/r)` for k < z.

    With r = 1 it is the logarithm of `gamma(z + 1)`, which is z factorial.

    >>> import numpy as np
    >>> log_rising(np.array([3.0]), np.array([2.0]))
    array([1.09861229])
    """
    x = r + SHIFT
    stirling = (z + x - 0.5) * np.log1p(z / x) - z + _tail(z + x) - _tail(x)
    # Two products, which take counts up to 1e77; eight logarithms take longer.
    first, second = ((1 + z / (r + 1)) * (1 + z / (r + 2)) * (1 + z / (r + 3)) for r in (r, r + 3))
    lowered = np.log1p(z / r) + np.log(first) + np.log(second * (1 + z / (r + 7)))
    rising: Array = stirling + z * np.log1p(SHIFT / r) - lowered
    return rising


@quiet
def log_rising_slope(z: Array, r: Array) -> Array:
    """`r**2` times the derivative of `log_rising` by r, finite for r to infinity.

    >>> import numpy as np
    >>> log_rising_slope(np.array([3.0, 3.0]), np.array([2.0, 1e300]))
    array([-1.66666667, -3.        ])
    """
    x = r + SHIFT
    slope = np.log1p(z / x) + z / (2 * x * (z + x)) + _tail_slope(z + x) - _tail_slope(x) - z / r
    for k in range(SHIFT):
        slope = slope + z / ((r + k) * (z + r + k))
    return np.where(z < FEW * r, _for_large(z, r), r * r * slope)


def _for_large(z: Array, r: Array) -> Array:
    # From the sums of k, k**2 and k**3 over k < z.
    first = z * (z - 1) / 2
    return -first + first * (2 * z - 1) / (3 * r) - (first / r) ** 2


def _tail(x: Array | float) -> Array:
    """What Stirling's series adds: `1/(12 x) - 1/(360 x**3) + ...`."""
    return _series(x, [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1)]) / x


def _tail_slope(x: Array) -> Array:
    """The derivative of `_tail`."""
    return -_series(x, [b / (2 * k) for k, b in enumerate(BERNOULLI, 1)]) / (x * x)


def _series(x: Array | float, coefficients: list[float]) -> Array:
    inverse, total = np.asarray(1 / (x * x)), np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * inverse + coefficient
    return total
