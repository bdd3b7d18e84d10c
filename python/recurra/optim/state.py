"""Faults of a saved state: what keeps it from being taken over."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from recurra import checks

__all__ = ["Arrays", "as_arrays", "form_faults", "refuse", "value_faults"]

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


def as_arrays(operation: str, state: Mapping[str, object]) -> Arrays:
    """A state as it was saved, or as a file returned it."""
    found = checks.mapping(operation, "state", state)
    return {name: np.asarray(value) for name, value in found.items()}


def form_faults(wanted: Arrays, found: Arrays) -> Iterator[str]:
    """Names, shapes and dtypes that are not those of `wanted`."""
    yield from (f"missing {name}" for name in wanted if name not in found)
    yield from (f"unexpected {name}" for name in found if name not in wanted)
    for name, a in wanted.items():
        b = found.get(name, a)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            yield f"{name}: expected {a.dtype} {a.shape}, got {b.dtype} {b.shape}"


def value_faults(wanted: Arrays, found: Arrays, owner: str) -> Iterator[str]:
    """Values that are not those of `wanted`."""
    for name, value in wanted.items():
        other = found.get(name, value)
        if other.shape == value.shape and not np.array_equal(other, value):
            yield f"{name}: expected {_show(value)} as {owner} has, got {_show(other)}"


def refuse(operation: str, faults: list[str]) -> None:
    """Raise if there is a fault."""
    if faults:
        raise ValueError(f"{operation}: state: " + "; ".join(faults))


def _show(array: np.ndarray[Any, Any]) -> str:
    return f"{array:g}" if array.ndim == 0 else str(array.tolist())
