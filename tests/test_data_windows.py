"""Windows of a series against the naive loop, and that they are views."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recurra.data import create_sequences, sliding_windows

SMALL = st.integers(1, 5)


def naive(
    values: np.ndarray, window: int, horizon: int, stride: int, gap: int, columns: Any
) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets, start = [], [], 0
    while start + window + gap + horizon <= len(values):
        inputs.append(values[start : start + window])
        first = start + window + gap
        targets.append(values[first : first + horizon])
        start += stride
    x, y = np.array(inputs), np.array(targets)
    if values.ndim == 1:
        return x[..., None], y
    return x, y if columns is None else y[..., columns]


@given(
    size=st.integers(1, 30),
    features=st.integers(0, 4),
    window=SMALL,
    horizon=SMALL,
    stride=SMALL,
    gap=st.integers(0, 4),
    which=st.integers(0, 4),
)
def test_windows_equal_the_naive_loop(
    size: int, features: int, window: int, horizon: int, stride: int, gap: int, which: int
) -> None:
    assume(size >= window + gap + horizon)
    columns = [None, 0, slice(1, 3), [-1, 0], -1][which] if features > 2 else None
    shape = (size, features) if features else (size,)
    values = np.arange(np.prod(shape)).reshape(shape)
    inputs, targets = create_sequences(
        values, window, horizon, stride=stride, gap=gap, target_columns=columns
    )
    x, y = naive(values, window, horizon, stride, gap, columns)
    assert inputs.shape == x.shape
    assert targets.shape == y.shape
    assert np.array_equal(inputs, x)
    assert np.array_equal(targets, y)
    assert np.shares_memory(inputs, values)
    assert np.shares_memory(targets, values) or isinstance(columns, list)
    assert np.array_equal(
        sliding_windows(values, window, stride)[: len(x)],
        x.reshape(len(x), window, *values.shape[1:]),
    )


def test_features_stay_contiguous() -> None:
    """So that the layers read windows where they lie."""
    inputs, targets = create_sequences(np.zeros((50, 3)), 8, 2, stride=2)
    assert inputs.strides == (48, 24, 8)
    assert targets.strides == (48, 24, 8)
    assert not inputs.flags.writeable
    assert not targets.flags.writeable


def test_the_memory_of_many_windows_is_that_of_the_series() -> None:
    inputs, targets = create_sequences(np.zeros(100_000), 50_000, target_columns=None)
    assert inputs.shape == (50_000, 50_000, 1)
    assert targets.shape == (50_000, 1)


def test_the_shortest_series() -> None:
    inputs, targets = create_sequences([1.0, 2.0], 1)
    assert inputs.tolist() == [[[1]]]
    assert targets.tolist() == [[2]]
    assert sliding_windows([3], 1).tolist() == [[3]]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"values": []}, ValueError, "values: expected at least one row, got 0"),
        ({"values": np.zeros((4, 2, 2))}, ValueError, r"values: expected \(N,\) or \(N, F\), got"),
        ({"values": ["a", "b"]}, TypeError, "values: expected numbers, got <U1"),
        ({"values": [[1, 2], [3]]}, ValueError, "values: expected rows of one shape, got several"),
        (
            {"window": 9, "gap": 1},
            ValueError,
            r"values: expected at least window \+ gap \+ horizon = 11 steps, got 10",
        ),
        ({"window": 0}, ValueError, "window: expected an int >= 1, got 0"),
        ({"window": 2.0}, TypeError, "window: expected an int, got float"),
        ({"horizon": 0}, ValueError, "horizon: expected an int >= 1, got 0"),
        ({"stride": 0}, ValueError, "stride: expected an int >= 1, got 0"),
        ({"gap": -1}, ValueError, "gap: expected an int >= 0, got -1"),
        ({"target_columns": 2}, IndexError, "target_columns: expected -2 <= column < 2, got 2"),
        ({"target_columns": [0, -3]}, IndexError, "target_columns: expected -2 <= .* got -3"),
        ({"target_columns": "price"}, TypeError, "target_columns: expected column numbers, got 'p"),
        ({"target_columns": [True, False]}, TypeError, "target_columns: expected column numbers"),
        ({"target_columns": []}, ValueError, r"target_columns: expected at least one, got \[\]"),
        ({"target_columns": slice(0)}, ValueError, "target_columns: expected at least one, got s"),
        (
            {"values": np.arange(10), "target_columns": 0},
            ValueError,
            r"target_columns: expected None for values \(N,\), got 0",
        ),
    ],
)
def test_bad_arguments(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^create_sequences: {message}"):
        create_sequences(**({"values": np.zeros((10, 2)), "window": 3} | change))


def test_bad_sliding_windows() -> None:
    with pytest.raises(ValueError, match="values: expected at least window = 4 steps, got 3"):
        sliding_windows([1, 2, 3], 4)
