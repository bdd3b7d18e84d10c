"""Rows to train on, to choose by and to report on: cut in time, or drawn at random."""

from collections.abc import Iterator, Sized
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.data.order import Indices, check_seed, permutation

__all__ = ["Split", "blocked_folds", "forward_folds", "random_split", "time_split"]


class Split(NamedTuple):
    """Three parts; a part that was not asked for is empty."""

    train: Any
    validation: Any
    test: Any


def time_split(values: Any, validation: float = 0.2, test: float = 0, *, gap: int = 0) -> Split:
    """Cut a series in time: the beginning to train on, then validation, then test.

    `values` is an array (N, ...), or whatever has a length and slices, and the parts are its
    slices: views of an array. `validation` and `test` are fractions of `N` if they are floats below
    1, rounded, or numbers of rows if they are ints. `gap` rows are left out before each part behind
    the first, at the cost of training: as many as a window and its horizon overlap, so that
    nothing that is validated on was seen. Each part that is asked for and the training must keep a
    row. Split the series and then make windows of the parts, not the other way round.

    >>> import numpy as np
    >>> from recurra.data import time_split
    >>> time_split(np.arange(10), validation=0.2, test=0.2, gap=1)
    Split(train=array([0, 1, 2, 3]), validation=array([5, 6]), test=array([8, 9]))
    """
    wanted = "an array, or what has a length"
    checks.instance("time_split", "values", values, Sized, wanted)
    parts = _parts("time_split", len(values), validation, test, gap)
    return Split(*(values[part] for part in parts))


def random_split(size: int, validation: float = 0.2, test: float = 0, *, seed: int = 0) -> Split:
    """Numbers, ascending, of `size` rows that are dealt to three parts at random, by `seed`.

    For rows that do not follow each other in time; fractions and numbers are as in `time_split`.

    >>> from recurra.data import random_split
    >>> [len(part) for part in random_split(10, 0.2, 0.1)]
    [7, 2, 1]
    """
    rows = checks.size("random_split", "size", size)
    parts = _parts("random_split", rows, validation, test, 0)
    order = permutation(rows, check_seed("random_split", seed), 0, draw=2)
    return Split(*(np.sort(order[part]) for part in parts))


def forward_folds(
    size: int, folds: int, *, gap: int = 0, max_train: int | None = None
) -> Iterator[tuple[slice, slice]]:
    """Slices of a series of `size` rows to train and to validate on, later in every fold.

    The last `folds` of `folds + 1` equal blocks are validated on, one after the other, and all
    rows `gap` before a block, or the last `max_train` of them, are trained on.

    >>> from recurra.data import forward_folds
    >>> for train, validation in forward_folds(10, folds=2):
    ...     print(train, validation)
    slice(0, 4, None) slice(4, 7, None)
    slice(0, 7, None) slice(7, 10, None)
    """
    checks.size("forward_folds", "folds", folds)
    checks.size("forward_folds", "gap", gap, 0)
    if max_train is not None:
        checks.size("forward_folds", "max_train", max_train)
    block = checks.size("forward_folds", "size", size) // (folds + 1)
    first = size - folds * block
    if block < 1 or first <= gap:
        raise ValueError(
            f"forward_folds: size: expected rows for {folds + 1} blocks and a gap of {gap}, "
            f"got {size}"
        )
    return (_forward(at, block, gap, max_train) for at in range(first, size, block))


def blocked_folds(size: int, folds: int, *, gap: int = 0) -> Iterator[tuple[Indices, slice]]:
    """Rows to train on and a block to validate on, for each of `folds` equal blocks of a series.

    All rows outside of the block are trained on but the `gap` nearest on either side of it
    (h-block cross-validation: Burman, Chow and Nolan, 1994). The model sees the future of what it
    is validated on: it suits series without a trend.

    >>> from recurra.data import blocked_folds
    >>> for train, validation in blocked_folds(6, folds=3, gap=1):
    ...     print(train, validation)
    [3 4 5] slice(0, 2, None)
    [0 5] slice(2, 4, None)
    [0 1 2] slice(4, 6, None)
    """
    checks.size("blocked_folds", "folds", folds, 2)
    checks.size("blocked_folds", "gap", gap, 0)
    if checks.size("blocked_folds", "size", size) < folds:
        raise ValueError(f"blocked_folds: size: expected a row for each fold, got {size}")
    checks.room("blocked_folds", "size", (size,), np.intp)
    # Of the folds without a row before them, the last has the fewest behind it.
    last = min((gap + 1) * folds - 1, size * folds - 1) // size
    if size * (last + 1) // folds + gap >= size:
        raise ValueError(f"blocked_folds: gap: expected rows to train on in every fold, got {gap}")
    return (_blocked(size, size * i // folds, size * (i + 1) // folds, gap) for i in range(folds))


def _parts(
    operation: str, rows: int, validation: float, test: float, gap: int
) -> tuple[slice, slice, slice]:
    checks.size(operation, "gap", gap, 0)
    held = _count(operation, "validation", validation, rows)
    tested = _count(operation, "test", test, rows)
    if held + tested == 0:
        raise ValueError(f"{operation}: validation: expected a part besides training, got none")
    last = rows - tested
    middle = last - held - (gap if held and tested else 0)
    train = middle - gap
    if train < 1:
        raise ValueError(
            f"{operation}: rows: expected at least one to train on, got {train} of {rows} beside "
            f"{held} for validation, {tested} for test and gaps of {gap}"
        )
    return slice(train), slice(middle, middle + held), slice(last, rows)


def _count(operation: str, argument: str, value: object, rows: int) -> int:
    """Rows of a part, of which a float is a fraction and an int the number."""
    if isinstance(value, int):
        return checks.size(operation, argument, value, 0)
    if isinstance(value, np.integer):
        return checks.size(operation, argument, int(value), 0)
    if not (isinstance(value, float | np.floating) and 0 <= value < 1):
        raise ValueError(
            f"{operation}: {argument}: expected a fraction in [0, 1) or an int, got {value!r}"
        )
    count = round(rows * float(value))
    if value > 0 and count == 0:
        raise ValueError(f"{operation}: {argument}: expected a row at least, got {value} of {rows}")
    return count


def _forward(at: int, block: int, gap: int, max_train: int | None) -> tuple[slice, slice]:
    end = at - gap
    start = 0 if max_train is None else max(0, end - max_train)
    return slice(start, end), slice(at, at + block)


def _blocked(size: int, start: int, stop: int, gap: int) -> tuple[NDArray[np.intp], slice]:
    before, after = np.arange(max(0, start - gap)), np.arange(min(size, stop + gap), size)
    return np.concatenate([before, after]), slice(start, stop)
