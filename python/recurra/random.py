"""Random numbers that depend on a seed and nothing else.

A counter-based generator (Philox 4x64-10: Salmon et al., Parallel Random Numbers: As Easy as
1, 2, 3, 2011) keyed by the seed. Every draw opens a stream of its own, numbered from 0, so it does
not matter how much the draws before it took. The generator's words become numbers by additions,
multiplications, divisions and square roots, all exactly rounded: the same seed gives the same bits
on every machine.

>>> import recurra
>>> recurra.manual_seed(7)
>>> a = recurra.random.uniform((2, 3))
>>> recurra.manual_seed(7)
>>> bool((a == recurra.random.uniform((2, 3))).all())
True

Without `manual_seed`, the first draw takes a seed from the operating system. A forked process
continues with a copy of the state: seed it anew if it must not repeat its parent's numbers.
"""

import functools
import itertools
import math
import secrets
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recurra import checks
from recurra.results import Array

__all__ = [
    "Generator",
    "dropout_mask",
    "get_state",
    "manual_seed",
    "normal",
    "set_state",
    "uniform",
]

Shape: TypeAlias = int | tuple[int, ...]


class Generator:
    """A seed and the number of draws made with it, which together are the whole state.

    Threads may share one and get different streams, in no order that is promised; for
    reproducible threads give each its own.

    >>> from recurra.random import Generator
    >>> generator = Generator(seed=7)
    >>> before = generator.get_state()
    >>> a = generator.normal(3)
    >>> generator.set_state(before)
    >>> bool((a == generator.normal(3)).all())
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self.manual_seed(secrets.randbits(64) if seed is None else seed)

    def manual_seed(self, seed: int) -> None:
        """Start again at stream 0 of `seed`, an integer in 0..2**64-1."""
        self._start("manual_seed", seed=seed, draws=0)

    def get_state(self) -> dict[str, int]:
        """`{"seed": ..., "draws": ...}`, two plain integers to keep in a checkpoint."""
        return {"seed": self._seed, "draws": self._draws}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue as after `get_state` returned `state`."""
        if set(checks.mapping("set_state", "state", state)) != {"seed", "draws"}:
            raise ValueError(f"set_state: state: expected seed and draws, got {sorted(state)}")
        self._start("set_state", **state)

    def _start(self, operation: str, **state: int) -> None:
        for name, value in state.items():
            checks.size(operation, name, value, 0, bits=64)
        self._seed, self._draws = int(state["seed"]), int(state["draws"])
        # Taking the next number is one step for the interpreter: threads need no lock, and a
        # forked child cannot inherit one that is held.
        self._streams = itertools.count(self._draws)

    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> Array:
        """Numbers spread evenly from `low` to `high`, which rounding may reach.

        All multiples of 2**-24 between 0 and 1 (float64: 2**-53) are equally likely before they
        are scaled.
        """
        kind = checks.float_dtype("uniform", dtype)
        low, high = checks.number("uniform", "low", low), checks.number("uniform", "high", high)
        bits = _bits(kind)
        words = self._words(_tuple("uniform", shape)) >> np.uint64(64 - bits)
        unit: Array = words.astype(kind) * kind.type(0.5**bits)
        scaled: Array = unit * kind.type(high - low) + kind.type(low)
        return scaled

    def normal(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32
    ) -> Array:
        """Normally distributed numbers (Box and Muller, 1958), computed in float64."""
        kind = checks.float_dtype("normal", dtype)
        mean, std = checks.number("normal", "mean", mean), checks.number("normal", "std", std)
        radius, angle = self.uniform((2, *_tuple("normal", shape)), dtype=np.float64)
        # 1 - radius is in (0, 1], where the logarithm is finite.
        values = np.sqrt(-2 * _log(1 - radius)) * _cos_turn(angle)
        return np.asarray(values * std + mean, kind)

    def dropout_mask(
        self, shape: Shape, p: float, dtype: DTypeLike = np.float32, rows: object = None
    ) -> Array:
        """0 with probability `p`, else 1 / (1 - p).

        With `rows`, an integer >= 0 for each place of the first axis, every number has random
        numbers of its own: what place i gets depends on `rows[i]` and not on the other places,
        and a longer row begins as a shorter one.

        >>> from recurra.random import Generator
        >>> a = Generator(seed=7).dropout_mask((2, 5), 0.5, rows=[0, 3])
        >>> b = Generator(seed=7).dropout_mask((1, 9), 0.5, rows=[3])
        >>> bool((a[1] == b[0, :5]).all())
        True
        """
        kind = checks.float_dtype("dropout_mask", dtype)
        p = checks.within("dropout_mask", "p", p, 0, 1)
        lengths = _tuple("dropout_mask", shape)
        words = self._words(lengths) if rows is None else self._words_of_rows(lengths, rows)
        # uniform(...) >= p, without making the numbers
        bits = _bits(kind)
        kept = words >= math.ceil(float(kind.type(p)) * 2**bits) << (64 - bits)
        mask: Array = kept * kind.type(1 / (1 - p))
        return mask

    def _words(self, lengths: tuple[int, ...]) -> NDArray[np.uint64]:
        return self._next_stream().random_raw(math.prod(lengths)).reshape(lengths)

    def _words_of_rows(self, shape: tuple[int, ...], rows: object) -> NDArray[np.uint64]:
        """As `_words`, but row i of the result begins at block `rows[i]` * 2**64 of the stream."""
        numbers = checks.index_array("dropout_mask", "rows", rows, 2**63)
        if numbers.shape != shape[:1]:
            raise ValueError(
                f"dropout_mask: rows: expected shape (B,) = {shape[:1]}, got {numbers.shape}"
            )
        words = np.empty((len(numbers), math.prod(shape[1:])), np.uint64)
        philox, at = self._next_stream(), 0
        for i, number in enumerate(numbers.tolist()):
            philox.advance(((number << 64) - at) % 2**256)
            words[i] = philox.random_raw(words.shape[1])
            at = (number << 64) + -(-words.shape[1] // 4)
        return words.reshape(shape)

    def _next_stream(self) -> np.random.Philox:
        stream = next(self._streams)
        self._draws = stream + 1
        counter = np.array([0, 0, 0, stream], np.uint64)
        return np.random.Philox(key=self._seed, counter=counter)


def manual_seed(seed: int) -> None:
    """Seed the generator behind initial weights and dropout: same seed, same bits."""
    _default().manual_seed(seed)


def get_state() -> dict[str, int]:
    """The state of the generator behind initial weights and dropout: two plain integers."""
    return _default().get_state()


def set_state(state: dict[str, int]) -> None:
    """Continue as after `get_state` returned `state`."""
    _default().set_state(state)


def uniform(
    shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
) -> Array:
    """`Generator.uniform` of the default generator."""
    return _default().uniform(shape, low, high, dtype)


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32
) -> Array:
    """`Generator.normal` of the default generator."""
    return _default().normal(shape, mean, std, dtype)


def dropout_mask(
    shape: Shape, p: float, dtype: DTypeLike = np.float32, rows: object = None
) -> Array:
    """`Generator.dropout_mask` of the default generator."""
    return _default().dropout_mask(shape, p, dtype, rows)


@functools.cache
def _default() -> Generator:
    return Generator()


def _bits(kind: np.dtype[np.floating[Any]]) -> int:
    """How many random bits a number has."""
    return 24 if kind == np.float32 else 53


def _tuple(operation: str, shape: Shape) -> tuple[int, ...]:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    sizes = tuple(checks.size(operation, "shape", length, 0) for length in lengths)
    checks.room(operation, "shape", sizes, np.uint64)  # what the numbers are made of
    return sizes


# NumPy's log and cos differ in the last bit from machine to machine. These two are accurate to
# about 1e-15, which is all that random numbers need.


def _log(x: Array) -> Array:
    """The logarithm of 0 < x <= 1: ln(m * 2**e) with 2 artanh((m-1) / (m+1)) for ln(m)."""
    m, e = np.frexp(x)
    is_small = m < 0.5**0.5
    m, e = np.where(is_small, m * 2, m), np.where(is_small, e - 1, e)
    s = (m - 1) / (m + 1)
    fraction: Array = 2 * s * _polynomial(s * s, [1 / (2 * n + 1) for n in range(12)])
    return fraction + e * math.log(2)


def _cos_turn(t: Array) -> Array:
    """The cosine of `t` turns, 0 <= t < 1, by its series around half a turn."""
    x = (t - 0.5) * (2 * math.pi)
    return -_polynomial(x * x, [(-1) ** n / math.factorial(2 * n) for n in range(17)])


def _polynomial(x: Array, coefficients: list[float]) -> Array:
    """Horner's rule; the coefficients ascend."""
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total
