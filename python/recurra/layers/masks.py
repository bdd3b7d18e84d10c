"""Which places of a padded batch are valid: from lengths, boolean masks or both."""

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.results import Array

Mask = NDArray[np.bool_]


def valid_steps(operation: str, lengths: object, batch: int, steps: int, letter: str = "T") -> Mask:
    """True (B, T) where a step lies before its row's length: `lengths` (B,), from 0 to T."""
    array = checks.array(operation, "lengths", lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{operation}: lengths: expected integers, got {array.dtype}")
    checks.shape(operation, "lengths", array, "(B,)", (batch,))
    bad = (array < 0) | (array > steps)
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(
            f"{operation}: lengths: expected 0 <= length <= {letter} = {steps}, "
            f"got {array[at]} at ({at},)"
        )
    # Positions of int64 compare with unsigned lengths as well.
    valid: Mask = np.arange(steps) < array[:, None]
    return valid


def kept(mask: Mask | None, a: Array, fill: float = 0.0) -> Array:
    """a (..., C) with `fill` where `mask` (...) is False; None keeps everything."""
    if mask is None:
        return a
    out = a.copy()  # whole rows are filled faster than elements are chosen
    out[~mask] = fill
    return out


def bool_array(
    operation: str, argument: str, value: object, letters: str, wanted: tuple[int, ...]
) -> Mask:
    """A private copy of a boolean array that broadcasts to the shape `wanted`."""
    array = checks.array(operation, argument, value)
    if array.dtype != np.bool_:
        raise TypeError(f"{operation}: {argument}: expected booleans, got {array.dtype}")
    try:
        return np.broadcast_to(array, wanted).copy()
    except ValueError:
        raise ValueError(
            f"{operation}: {argument}: expected a shape that broadcasts to {letters} = {wanted}, "
            f"got {array.shape}"
        ) from None


def sequence(operation: str, x: Array, features: int | None = None) -> tuple[int, int, int]:
    """B, T and C of an x of shape (B, T, C), where C is `features` if that is given."""
    if x.ndim != 3 or (features is not None and x.shape[2] != features):
        wanted = "(B, T, C)" if features is None else f"(B, T, C) = (B, T, {features})"
        raise ValueError(f"{operation}: x: expected shape {wanted}, got {x.shape}")
    return x.shape[0], x.shape[1], x.shape[2]
