"""Check gradients against finite differences.

    gradcheck(loss, arguments, gradients)

`loss(**arguments)` is a number, `gradients[name]` the gradient claimed for `arguments[name]`. Every
element is moved both ways, in float64, by one and by two steps, and the slope is read from the four
values: the error is of the order of step^4, so the rounding of `loss` (1e-16 / step) is what is
left and the tolerance can be tight.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

__all__ = ["Worst", "gradcheck", "numeric_gradient"]

STEP = 2e-4


class Worst(NamedTuple):
    """The element whose claimed gradient is furthest from the numeric one."""

    name: str
    index: tuple[int, ...]
    claimed: float
    numeric: float
    error: float
    """|claimed - numeric| / max(1, largest |numeric| of the argument)"""


def numeric_gradient(
    loss: Callable[..., float],
    arguments: Mapping[str, np.ndarray],
    name: str,
    step: float = STEP,
) -> np.ndarray:
    """Return d loss / d arguments[name] from central differences of the fourth order."""
    moved = np.array(arguments[name], dtype=np.float64)
    gradient = np.zeros_like(moved)
    for index in np.ndindex(moved.shape):
        value, at = moved[index], {}
        for k in (-2, -1, 1, 2):
            moved[index] = value + k * step
            at[k] = float(loss(**{**arguments, name: moved.copy()}))
        moved[index] = value
        gradient[index] = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    return gradient


def worst_element(name: str, claimed: np.ndarray, numeric: np.ndarray) -> Worst:
    scale = max(1.0, float(np.abs(numeric).max(initial=0)))
    errors = np.nan_to_num(np.abs(claimed - numeric), nan=np.inf) / scale
    index = np.unravel_index(int(errors.argmax()), errors.shape)
    index = tuple(int(i) for i in index)
    return Worst(name, index, float(claimed[index]), float(numeric[index]), float(errors[index]))


def gradcheck(
    loss: Callable[..., float],
    arguments: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray | None],
    *,
    tolerance: float = 1e-9,
    step: float = STEP,
) -> Worst:
    """Compare every element of every gradient; return the worst, or raise AssertionError for it.

    A kink (relu, max, abs) within two steps of a value gives a false alarm: draw other values.
    """
    worst = Worst("", (), 0.0, 0.0, 0.0)
    for name, claimed in gradients.items():
        argument = arguments[name]
        assert argument.dtype == np.float64, f"{name}: expected float64, got {argument.dtype}"
        assert claimed is not None, f"{name}: no gradient"
        assert claimed.shape == argument.shape, f"{name}: {claimed.shape} for {argument.shape}"
        if argument.size:
            numeric = numeric_gradient(loss, arguments, name, step)
            worst = max(worst, worst_element(name, claimed, numeric), key=lambda w: w.error)
    assert worst.error <= tolerance, f"{worst}: expected an error of at most {tolerance}"
    return worst
