"""Argument checks of the Python layer. Every message says operation, argument, expected, got."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recurra.results import Array

FLOATS: tuple[np.dtype[np.floating[Any]], ...] = (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(operation: str, dtype: DTypeLike) -> np.dtype[np.floating[Any]]:
    """`dtype` as float32 or float64."""
    for known in FLOATS:
        if np.dtype(dtype) == known:
            return known
    raise TypeError(f"{operation}: dtype: expected float32 or float64, got {np.dtype(dtype)}")


def float_array(
    operation: str, argument: str, value: object, dtype: DTypeLike | None = None
) -> Array:
    """`value` as an array of `dtype`, or of either float type. Nothing is converted or copied."""
    array = value if type(value) is np.ndarray else np.asarray(value)
    wanted = FLOATS if dtype is None else (dtype,)
    if array.dtype not in wanted:
        names = " or ".join(str(np.dtype(name)) for name in wanted)
        raise TypeError(f"{operation}: {argument}: expected {names}, got {array.dtype}")
    return array


def index_array(operation: str, argument: str, value: object, size: int) -> NDArray[np.int64]:
    """A private int64 copy of `value`, every element in 0..size-1."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{operation}: {argument}: expected integers, got {array.dtype}")
    index = np.array(array, dtype=np.int64, order="C")
    bad = index.view(np.uint64) >= size  # a negative number is a large one there
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise IndexError(
            f"{operation}: {argument}: expected 0 <= id < {size}, got {array[where]} at {where}"
        )
    return index


def integers(operation: str, argument: str, value: object) -> NDArray[np.int64]:
    """`value` as int64, copied: integers, or a list of nothing, which has no type of its own."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and (array.size or isinstance(value, np.ndarray)):
        raise TypeError(f"{operation}: {argument}: expected integers, got {array.dtype}")
    return np.array(array, dtype=np.int64, order="C")


def shape(
    operation: str, argument: str, array: NDArray[Any], letters: str, wanted: Sequence[int]
) -> None:
    """Refuse an array whose shape is not `wanted`, which `letters` spells."""
    if array.shape != tuple(wanted):
        raise ValueError(
            f"{operation}: {argument}: expected shape {letters} = {tuple(wanted)}, "
            f"got {array.shape}"
        )


def size(operation: str, argument: str, value: int, least: int = 1) -> int:
    """`value` as an int not below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{operation}: {argument}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{operation}: {argument}: expected an int >= {least}, got {value}")
    return int(value)


def within(
    operation: str, argument: str, value: float, low: float, high: float = float("inf")
) -> float:
    """`value` as a float with low <= value < high, so never NaN."""
    if not low <= value < high:
        raise ValueError(
            f"{operation}: {argument}: expected {low:g} <= {argument} < {high:g}, got {value}"
        )
    return float(value)


def one_of(operation: str, argument: str, value: str, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`."""
    if value not in choices:
        names = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{operation}: {argument}: expected {names}, got {value!r}")
    return value
