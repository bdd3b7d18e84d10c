"""Sequences of different lengths in one array."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Lengths, Values

__all__ = [
    "Padded",
    "as_sequences",
    "check_fill",
    "common_dtype",
    "fill",
    "pad_sequences",
    "unpad_sequences",
]

SIDES = ("left", "right")
RANKS = {"b": 0, "u": 1, "i": 1, "f": 2}
"""Of kinds of dtypes: none turns into one of a lower rank."""


class Padded(NamedTuple):
    """What `pad_sequences` returns."""

    values: Values
    """(B, T, ...): the sequences and their padding, a new array."""
    lengths: Lengths
    """(B,): how many steps of each row are no padding."""


def pad_sequences(
    sequences: Sequence[object],
    length: int | None = None,
    *,
    padding_value: float = 0,
    padding_side: str = "right",
    truncation_side: str = "right",
    dtype: DTypeLike | None = None,
) -> Padded:
    """Pad `B` sequences (T_i, ...) to `T` steps, those of the longest, or `length`.

    Sequences longer than `length` lose steps at `truncation_side`. The layers' `lengths` argument
    counts steps from the first, so it goes with padding on the right. `dtype` is NumPy's common
    one of the sequences if not given; `padding_value` must fit it. Keras's function of this name
    pads and truncates on the left unless it is told otherwise.

    Sequences of no steps are allowed; no sequences, or such of different features, are a
    `ValueError`.

    >>> from recurra.data import pad_sequences
    >>> pad_sequences([[1, 2, 3], [4], []])
    Padded(values=array([[1, 2, 3], [4, 0, 0], [0, 0, 0]]), lengths=array([3, 1, 0]))
    >>> pad_sequences([[1, 2, 3], [4]], 2, padding_side="left", truncation_side="left").values
    array([[2, 3], [0, 4]])
    """
    operation = "pad_sequences"
    checks.one_of(operation, "padding_side", padding_side, SIDES)
    checks.one_of(operation, "truncation_side", truncation_side, SIDES)
    arrays = as_sequences(operation, "sequences", sequences)
    kind = _dtype(operation, arrays, dtype)
    check_fill(operation, "padding_value", padding_value, kind)
    steps = max(map(len, arrays))
    if length is not None:
        steps = checks.size(operation, "length", length, 0)
        start = -steps if truncation_side == "left" else 0
        arrays = [array[start:][:steps] if len(array) > steps else array for array in arrays]
    return fill(arrays, steps, padding_value, kind, padding_side == "left")


def fill(
    arrays: Sequence[Values],
    steps: int,
    value: float,
    dtype: np.dtype[np.generic],
    left: bool = False,
) -> Padded:
    """The arrays, none of more than `steps`, in a new one whose other elements are `value`."""
    lengths = np.array([len(array) for array in arrays], np.int64)
    shape = (len(arrays), steps, *arrays[0].shape[1:])
    values = checks.room("pad_sequences", "length", shape, dtype)
    values.fill(value)
    for row, array, kept in zip(values, arrays, lengths.tolist(), strict=True):
        row[steps - kept if left else 0 :][:kept] = array
    return Padded(values, lengths)


def unpad_sequences(values: object, lengths: object) -> list[Values]:
    """The rows of `values` (B, T, ...) without the padding on their right: views (T_i, ...).

    >>> import numpy as np
    >>> from recurra.data import unpad_sequences
    >>> unpad_sequences(np.array([[1, 2, 3], [4, 0, 0]]), lengths=[3, 1])
    [array([1, 2, 3]), array([4])]
    """
    array = check.as_numbers("unpad_sequences", "values", values)
    if array.ndim < 2:
        raise ValueError(f"unpad_sequences: values: expected (B, T, ...), got shape {array.shape}")
    kept = check.lengths_array("unpad_sequences", lengths, *array.shape[:2])
    return [row[:length] for row, length in zip(array, kept.tolist(), strict=True)]


def as_sequences(operation: str, argument: str, value: object) -> list[Values]:
    """`value` as arrays `(T_i, ...)` that differ in their first dimension alone, at least one."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise TypeError(
            f"{operation}: {argument}: expected a list of arrays, got {type(value).__name__}"
        )
    arrays = [check.as_numbers(operation, f"{argument}[{i}]", row) for i, row in enumerate(value)]
    if not arrays:
        raise ValueError(f"{operation}: {argument}: expected at least one sequence, got none")
    wanted = next((array.shape[1:] for array in arrays if array.shape != (0,)), ())
    for i, array in enumerate(arrays):
        # An empty list says nothing about the features that its steps would have.
        if array.ndim == 0 or (array.shape != (0,) and array.shape[1:] != wanted):
            spelt = "".join(f", {size}" for size in wanted) or ","
            raise ValueError(
                f"{operation}: {argument}[{i}]: expected shape (T{spelt}), got {array.shape}"
            )
    return [array if len(array) else array.reshape(0, *wanted) for array in arrays]


def common_dtype(arrays: Sequence[Values]) -> np.dtype[np.generic]:
    """NumPy's common dtype of those that have steps: that of an empty list means nothing."""
    return np.result_type(*([array.dtype for array in arrays if array.size] or [arrays[0].dtype]))


def _dtype(operation: str, arrays: list[Values], dtype: DTypeLike | None) -> np.dtype[np.generic]:
    common = common_dtype(arrays)
    if dtype is None:
        return common
    try:
        wanted = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"{operation}: dtype: expected a dtype, got {dtype!r}") from None
    filled = [array for array in arrays if array.size]
    rank = RANKS.get(wanted.kind, -1)
    if rank < (RANKS[common.kind] if filled else 0):
        raise TypeError(f"{operation}: dtype: expected one that holds {common}, got {wanted}")
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        for array in filled:
            if array.min() < limits.min or array.max() > limits.max:
                raise ValueError(
                    f"{operation}: dtype: expected one that holds {array.min()}..{array.max()}, "
                    f"got {wanted}"
                )
    return wanted


def check_fill(operation: str, argument: str, value: float, dtype: np.dtype[np.generic]) -> None:
    """Refuse a padding that an integer array would turn into another number."""
    checks.number(operation, argument, value)
    with np.errstate(all="ignore"):
        stored = np.asarray(value).astype(dtype)
    if dtype.kind in "iub" and stored != value:
        raise ValueError(f"{operation}: {argument}: expected a value of {dtype}, got {value}")
