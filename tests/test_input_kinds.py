"""Whatever NumPy can see as an array gives the bits of the plain array."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from bits import arrays, assert_same_bits
from cells import VARIANTS, Variant, backward, draw, draw_incoming, forward, step
from recurra import _core, functional

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def rng_for(*words: object) -> np.random.Generator:
    return np.random.default_rng(list("/".join(map(str, words)).encode()))


def big_endian(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder(">"))


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def reversed_in_memory(a: np.ndarray) -> np.ndarray:
    every = (slice(None, None, -1),) * a.ndim
    return a[every].copy()[every]


def transposed_in_memory(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.T).T


def time_first(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) if a.ndim == 3 else a


def with_gaps(a: np.ndarray) -> np.ndarray:
    wide = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    every = (slice(1, None, 2),) * a.ndim
    wide[every] = a
    return wide[every]


def unaligned(a: np.ndarray) -> np.ndarray:
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def field_of_a_record(a: np.ndarray) -> np.ndarray:
    """Return a view whose strides are no multiples of an element."""
    records = np.zeros(a.shape, np.dtype([("tag", "u1"), ("value", a.dtype)]))
    records["value"] = a
    return records["value"]


def odd_stride_of_one(a: np.ndarray) -> np.ndarray:
    """Return a view of one more axis at first, whose stride is no multiple of an element."""
    return np.lib.stride_tricks.as_strided(a, (1, *a.shape), (-7, *a.strides), writeable=False)


class Convertible:
    """What knows how to become an array."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.a


KINDS: list[Callable[[np.ndarray], Any]] = [
    np.ndarray.tolist,
    np.asfortranarray,
    big_endian,
    read_only,
    reversed_in_memory,
    transposed_in_memory,
    time_first,
    with_gaps,
    unaligned,
    field_of_a_record,
    Convertible,
]


@every_variant
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kinds_of_input(variant: Variant, kind: Callable[..., Any], dtype: type) -> None:
    if kind is np.ndarray.tolist and dtype is np.float32:
        dtype = np.float64  # a list of floats is float64
    rng = rng_for(variant)
    arguments = draw(variant, rng, B=3, T=4, I=5, H=18, dtype=dtype)
    lengths = np.array([4, 0, 3])
    plain = forward(functional, variant, arguments, lengths=lengths)
    incoming = draw_incoming(plain, rng)
    other = {name: kind(value) for name, value in arguments.items()}
    output = forward(functional, variant, other, lengths=lengths)
    assert_same_bits(output, plain)
    assert_same_bits(
        backward(functional, variant, output.saved, {k: kind(v) for k, v in incoming.items()}),
        backward(functional, variant, plain.saved, incoming),
    )
    first = {"x": kind(arguments["x"][:, 0])}
    assert_same_bits(
        dict(enumerate(step(functional, variant, other | first))),
        dict(enumerate(step(functional, variant, arguments | {"x": arguments["x"][:, 0]}))),
    )


def test_a_file_in_memory(tmp_path: Path) -> None:
    arguments = draw(VARIANTS[2], rng_for("file"), B=2, T=30, I=4, H=5)
    np.save(tmp_path / "x.npy", arguments["x"])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same_bits(
        functional.lstm_forward(**(arguments | {"x": mapped})),
        functional.lstm_forward(**arguments),
    )


@every_variant
def test_broadcast_arrays(variant: Variant) -> None:
    """Arrays of stride zero are read as what they look like."""
    arguments = draw(variant, rng_for(variant), B=4, T=3, I=5, H=6)
    wide = {k: np.broadcast_to(v.flat[0], v.shape) for k, v in arguments.items()}
    rows = wide | {"x": np.broadcast_to(arguments["x"][:1], arguments["x"].shape)}
    for views in (wide, rows):
        got, expected = (
            forward(functional, variant, each)
            for each in (views, {k: v.copy() for k, v in views.items()})
        )
        assert_same_bits(got, expected)
        incoming = {"dy": np.broadcast_to(got.y[0, 0, 0], got.y.shape)}
        assert_same_bits(
            backward(functional, variant, got.saved, incoming),
            backward(functional, variant, expected.saved, {"dy": incoming["dy"].copy()}),
        )


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">i8"])
def test_kinds_of_lengths(dtype: str) -> None:
    arguments = draw(VARIANTS[2], rng_for("lengths"))
    expected = functional.lstm_forward(**arguments, lengths=[2, 0, 3])
    padded = np.array([2, 9, 0, 9, 3], dtype)[::2]
    assert_same_bits(functional.lstm_forward(**arguments, lengths=padded), expected)
    assert_same_bits(functional.lstm_forward(**arguments, lengths=(2, 0, 3)), expected)


def test_results_are_new_contiguous_arrays() -> None:
    arguments = draw(VARIANTS[3], rng_for("results"))
    output = functional.lstm_forward(**{k: np.asfortranarray(v) for k, v in arguments.items()})
    grads = functional.lstm_backward(output.saved, dh_n=output.h_n)
    for array in (*arrays(output).values(), *arrays(grads).values()):
        assert array.flags.c_contiguous
        assert array.flags.owndata
        assert array.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_stride_of_an_axis_of_one_is_no_matter(dtype: type) -> None:
    rng = np.random.default_rng(4)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 3), (4, 3)))
    odd = odd_stride_of_one(x)
    assert odd.flags.c_contiguous
    found = _core.linear_forward_each(odd, w[None])
    assert found.tobytes() == _core.linear_forward_each(x[None].copy(), w[None]).tobytes()
    assert _core.grad_norm([odd]) == _core.grad_norm([x])


def gru_into(y: Any) -> tuple[Any, ...]:
    """A GRU of 5 units over 3 steps of 2 rows of 4 inputs, with `y` as the place of its outputs."""
    r = np.random.default_rng(0)
    x, *weights = (r.standard_normal(s).astype("f4") for s in [(2, 3, 4), (15, 4), (15, 5), 15, 15])
    rest = (None, None, None, None, False, False, "keep", None)
    return _core.forward("gru", x, *weights, *rest, y)


@pytest.mark.parametrize("columns", [slice(0, 5), slice(3, 8), slice(5, 10)])
def test_outputs_are_written_into_columns(columns: slice) -> None:
    both = np.full((2, 3, 10), 7, "f4")
    y = gru_into(both[..., columns])[0]
    assert np.shares_memory(y, both)
    np.testing.assert_array_equal(both[..., columns], gru_into(None)[0])
    both[..., columns] = 7
    assert (both == 7).all()


LINES = "gru_forward: y: expected a writable, aligned array with its lines apart and contiguous"


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (read_only(np.zeros((2, 3, 5), "f4")), ValueError, LINES),
        (np.zeros((2, 3, 10), "f4")[..., ::2], ValueError, LINES),
        (np.zeros((2, 3, 5), "f4")[:, ::-1], ValueError, LINES),
        (np.zeros((2, 4, 5), "f4"), ValueError, "(2, 3, 5)"),
        (as_strided(np.zeros(15, "f4"), (2, 3, 5), (0, 20, 4)), ValueError, LINES),
        (np.zeros((2, 3, 5), ">f4"), ValueError, LINES),
        (np.zeros((2, 3, 5)).tolist(), TypeError, "float32"),
        (np.zeros((2, 3, 5)), TypeError, "float32"),
        (np.zeros((2, 15), "f4"), ValueError, "(B, T, H)"),
    ],
)
def test_places_that_outputs_cannot_take_are_refused(y: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as found:
        gru_into(y)
    assert text in str(found.value)
