"""Checks that the sets of rows share. Nothing is converted that is an array already."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recurra import checks
from recurra.data.batch import Lengths, Values

__all__ = [
    "as_numbers",
    "as_rows",
    "check_columns",
    "check_rows",
    "check_several",
    "each",
    "lengths_array",
    "weights_array",
]


def each(value: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of an array, or a tuple with that of each of several."""
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)


def check_several(operation: str, argument: str, value: object) -> None:
    """Refuse an empty tuple, and a result of named parts that was not meant as several arrays."""
    if isinstance(value, tuple) and type(value) is not tuple:
        raise TypeError(
            f"{operation}: {argument}: expected an array or a plain tuple of several, "
            f"got {type(value).__name__}"
        )
    if isinstance(value, tuple) and not value:
        raise ValueError(f"{operation}: {argument}: expected something in the tuple, got nothing")


def as_numbers(operation: str, argument: str, value: object) -> Values:
    """`value` as an array of numbers or truth values, a view if it is one."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{operation}: {argument}: expected rows of one shape, got several"
        ) from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{operation}: {argument}: expected numbers, got {array.dtype}")
    return array


def as_rows(operation: str, argument: str, value: object) -> Values:
    """`value` as an array `(n, ...)` of at least one row."""
    array = as_numbers(operation, argument, value)
    if array.ndim == 0:
        raise ValueError(f"{operation}: {argument}: expected rows (n, ...), got shape ()")
    if len(array) == 0:
        raise ValueError(f"{operation}: {argument}: expected at least one row, got 0")
    return array


def check_rows(operation: str, argument: str, got: int, wanted: int) -> None:
    """Refuse another number of rows than that of the inputs."""
    if got != wanted:
        raise ValueError(f"{operation}: {argument}: expected {wanted} rows as in inputs, got {got}")


def lengths_array(operation: str, value: object, rows: int, steps: int) -> Lengths:
    """A private int64 copy of lengths `(rows,)`, each 0..steps."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{operation}: lengths: expected integers, got {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"{operation}: lengths: expected shape ({rows},), got {array.shape}")
    bad = np.flatnonzero((array < 0) | (array > steps))
    if bad.size:
        raise ValueError(
            f"{operation}: lengths: expected 0..{steps}, got {array[bad[0]]} in row {bad[0]}"
        )
    return np.array(array, np.int64)


def weights_array(operation: str, value: object) -> Values:
    """Weights as an array of floats, finite and not below 0."""
    array = checks.float_array(operation, "weights", value)
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(
            f"{operation}: weights: expected finite numbers >= 0, got {array[bad].flat[0]}"
        )
    return array


def check_columns(operation: str, argument: str, columns: object, count: int) -> None:
    """Refuse what is no number, and no list of numbers, in -count..count-1."""
    array = np.asarray(columns)
    if array.ndim > 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(
            f"{operation}: {argument}: expected column numbers, got {checks.brief(columns)}"
        )
    bad = array[(array < -count) | (array >= count)]
    if bad.size:
        raise IndexError(
            f"{operation}: {argument}: expected {-count} <= column < {count}, got {bad.flat[0]}"
        )
