"""Comparing results bit for bit, and forcing an instruction set."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from recurra import _core

__all__ = ["ISAS", "arrays", "assert_same_bits", "assert_the_same_everywhere", "forced_isa"]

ISAS = _core.available_isas()


@contextmanager
def forced_isa(name: str) -> Iterator[None]:
    """Run on an instruction set, and on the one before again afterwards."""
    before = _core.isa()
    _core.force_isa(name)
    try:
        yield
    finally:
        _core.force_isa(before)


def arrays(result: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a result by their names; what is `None` is left out."""
    named = result if isinstance(result, Mapping) else result._asdict()
    return {k: v for k, v in named.items() if isinstance(v, np.ndarray)}


def assert_same_bits(got: Any, expected: Any) -> None:
    """Assert the same names, dtypes, shapes and bits; +0 and -0 are different."""
    got, expected = arrays(got), arrays(expected)
    assert got.keys() == expected.keys(), f"{sorted(got)} instead of {sorted(expected)}"
    for name, want in expected.items():
        have = got[name]
        assert (have.dtype, have.shape) == (want.dtype, want.shape), name
        different = bits(have) != bits(want)
        if different.any():
            at = tuple(int(i) for i in np.argwhere(different)[0])
            raise AssertionError(
                f"{name}: {different.sum()} of {want.size} differ, "
                f"the first at {at}: {have[at]!r} instead of {want[at]!r}"
            )


def assert_the_same_everywhere(results: Callable[[int], Any]) -> None:
    """Assert that `results(threads)` depends on neither the threads nor the instruction set."""
    expected = results(1)
    for isa in ISAS:
        with forced_isa(isa):
            for threads in (1, 2, 3):
                assert_same_bits(results(threads), expected)


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.itemsize}").reshape(array.shape)
