"""Argument checks of the Python layer. Every message says operation, argument, expected, got."""

import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recurra.results import Array

REALS = (int, float, np.integer, np.floating)
FLOATS: tuple[np.dtype[np.floating[Any]], ...] = (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(operation: str, dtype: DTypeLike) -> np.dtype[np.floating[Any]]:
    """`dtype` as float32 or float64. None is neither, though NumPy takes it for float64."""
    found: object = dtype
    if dtype is not None:
        with suppress(TypeError, ValueError):
            found = np.dtype(dtype)
    for known in FLOATS:
        if isinstance(found, np.dtype) and found == known:
            return known
    got = found if isinstance(found, np.dtype) else repr(found)
    raise TypeError(f"{operation}: dtype: expected float32 or float64, got {got}")


def array(operation: str, argument: str, value: object) -> NDArray[Any]:
    """`value` as NumPy reads it; lists of lists must be of one length.

    A masked array is refused: its mask would be dropped without a word.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{operation}: {argument}: expected an array without a mask, got MaskedArray"
        )
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{operation}: {argument}: expected an array, or lists of equal lengths, "
            f"got a {type(value).__name__} of different ones"
        ) from None
    except TypeError:
        if isinstance(value, list | tuple) and any(hasattr(v, "requires_grad") for v in value):
            raise TypeError(
                f"{operation}: {argument}: expected an array or a tensor, got a "
                f"{type(value).__name__} with a tensor in it; a recurrent layer returns (y, state)"
            ) from None
        raise


def float_array(
    operation: str, argument: str, value: object, dtype: DTypeLike | None = None
) -> Array:
    """`value` as an array of `dtype`, or of either float type. Nothing is converted or copied."""
    found = value if type(value) is np.ndarray else array(operation, argument, value)
    wanted = FLOATS if dtype is None else (dtype,)
    if found.dtype not in wanted:
        names = " or ".join(str(np.dtype(name)) for name in wanted)
        raise TypeError(f"{operation}: {argument}: expected {names}, got {found.dtype}")
    return found


def index_array(operation: str, argument: str, value: object, size: int) -> NDArray[np.int64]:
    """A private int64 copy of `value`, every element in 0..size-1."""
    found = array(operation, argument, value)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{operation}: {argument}: expected integers, got {found.dtype}")
    index = np.array(found, dtype=np.int64, order="C")
    bad = index.view(np.uint64) >= size  # a negative number is a large one there
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise IndexError(
            f"{operation}: {argument}: expected 0 <= id < {size}, got {found[where]} at {where}"
        )
    return index


def integers(operation: str, argument: str, value: object) -> NDArray[np.int64]:
    """`value` as int64, copied: integers, or a list of nothing, which has no type of its own."""
    found = array(operation, argument, value)
    if found.dtype.kind not in "iu" and (found.size or isinstance(value, np.ndarray)):
        raise TypeError(f"{operation}: {argument}: expected integers, got {found.dtype}")
    return np.array(found, dtype=np.int64, order="C")


def shape(
    operation: str, argument: str, array: NDArray[Any], letters: str, wanted: Sequence[int]
) -> None:
    """Refuse an array whose shape is not `wanted`, which `letters` spells."""
    if array.shape != tuple(wanted):
        raise ValueError(
            f"{operation}: {argument}: expected shape {letters} = {tuple(wanted)}, "
            f"got {array.shape}"
        )


def size(operation: str, argument: str, value: int, least: int = 1, bits: int = 63) -> int:
    """`value` as an int from `least` to 2**bits - 1: what an index of an array can be, usually."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{operation}: {argument}: expected an int, got {type(value).__name__}")
    found = int(value)
    if not least <= found < 2**bits:
        wanted = f">= {least}" if found < least else f"< 2**{bits}"
        raise ValueError(f"{operation}: {argument}: expected an int {wanted}, got {brief(found)}")
    return found


def brief(value: object) -> str:
    """`value` as an error shows it, shortened."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python spells no number of more than some thousand digits
        return f"a {type(value).__name__} too long to show"


def element(operation: str, argument: str, values: Any, index: Any, wanted: str) -> Any:
    """`values[index]`, or an IndexError in the one form if `index` is no index of it."""
    try:
        return values[index]
    except (IndexError, OverflowError, TypeError, ValueError):
        raise IndexError(
            f"{operation}: {argument}: expected {wanted}, got {brief(index)}"
        ) from None


def room(operation: str, argument: str, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """An array to fill, or at once a MemoryError in the one form if there is no memory for it."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, OverflowError, ValueError):  # the last two: more than any memory
        raise MemoryError(
            f"{operation}: {argument}: expected a shape that memory holds, got {tuple(shape)}"
        ) from None


def number(operation: str, argument: str, value: object) -> float:
    """`value` as a float: a real number, of Python's or of NumPy's."""
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    found = instance(operation, argument, value, REALS, "a number")
    try:
        return float(found)
    except OverflowError:
        raise ValueError(f"{operation}: {argument}: expected a number, got one above any") from None


def within(
    operation: str, argument: str, value: float, low: float, high: float = float("inf")
) -> float:
    """`value` as a float with low <= value < high, so never NaN."""
    found = number(operation, argument, value)
    if not low <= found < high:
        raise ValueError(
            f"{operation}: {argument}: expected {low:g} <= {argument} < {high:g}, got {value}"
        )
    return found


def positive(operation: str, argument: str, value: object) -> float:
    """`value` as a finite float above 0."""
    found = number(operation, argument, value)
    if not 0 < found < float("inf"):
        raise ValueError(f"{operation}: {argument}: expected a finite number above 0, got {value}")
    return found


def positive_or_none(operation: str, argument: str, value: object) -> float | None:
    """`value` as a finite float above 0, or None."""
    return None if value is None else positive(operation, argument, value)


def instance(operation: str, argument: str, value: object, kinds: Any, wanted: str) -> Any:
    """`value` if it is an instance of `kinds`, which `wanted` spells."""
    if not isinstance(value, kinds):
        got = type(value).__name__
        raise TypeError(f"{operation}: {argument}: expected {wanted}, got {got}")
    return value


def flag(operation: str, argument: str, value: object) -> bool:
    """`value` as a bool: a text or a number in its place is a mistake."""
    return bool(instance(operation, argument, value, bool | np.bool_, "True or False"))


def items(operation: str, argument: str, value: object, kind: str) -> list[Any]:
    """What an iterable holds; a text, which holds its letters, is none."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        got = type(value).__name__
        raise TypeError(f"{operation}: {argument}: expected a list of {kind}, got {got}")
    return list(value)


def mapping(
    operation: str, argument: str, value: object, wanted: str = "a mapping of names"
) -> Mapping[str, Any]:
    """`value` as what maps names to values: a dict, an open npz file."""
    found: Mapping[str, Any] = instance(operation, argument, value, Mapping, wanted)
    return found


def path(operation: str, argument: str, value: object) -> Path:
    """`value` as a path: a text, or what stands for one."""
    return Path(instance(operation, argument, value, str | os.PathLike, "a path"))


def one_of(operation: str, argument: str, value: object, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        names = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{operation}: {argument}: expected {names}, got {brief(value)}")
    return value
