"""Padding and its undoing; what Keras gives is in test_data_keras.py."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import pad_sequences, unpad_sequences

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=9)


@given(lengths=LENGTHS, features=st.integers(0, 3))
def test_unpadding_undoes_padding(lengths: list[int], features: int) -> None:
    shape = (features,) if features else ()
    rows = [np.random.default_rng(n).standard_normal((n, *shape)) for n in lengths]
    values, found = pad_sequences(rows, padding_value=np.nan)
    assert values.shape == (len(rows), max(lengths), *shape)
    assert found.tolist() == lengths
    for row, back in zip(rows, unpad_sequences(values, found), strict=True):
        assert np.array_equal(row, back)
        assert back.size == 0 or np.shares_memory(back, values)
    assert np.isnan(values).sum() == values.size - sum(row.size for row in rows)


@given(lengths=LENGTHS, size=st.integers(0, 9), left=st.booleans(), cut_left=st.booleans())
def test_it_equals_the_naive_loop(
    lengths: list[int], size: int, left: bool, cut_left: bool
) -> None:
    rows = [list(range(1, n + 1)) for n in lengths]
    side = {True: "left", False: "right"}
    values, found = pad_sequences(
        rows, size, padding_side=side[left], truncation_side=side[cut_left], dtype=np.int32
    )
    assert values.dtype == np.int32
    for row, padded, length in zip(rows, values.tolist(), found, strict=True):
        kept = row[max(0, len(row) - size) :] if cut_left else row[:size]
        empty = [0] * (size - len(kept))
        assert padded == (empty + kept if left else kept + empty)
        assert length == len(kept)


def test_dtypes() -> None:
    assert pad_sequences([[1], [2.5]]).values.dtype == np.float64
    assert pad_sequences([[], [1]]).values.dtype == np.int64, "an empty list is of no kind"
    assert pad_sequences([[]]).values.shape == (1, 0)
    assert pad_sequences(np.ones((2, 3), np.float32)).values.dtype == np.float32
    assert pad_sequences([[1.0]], dtype=np.float32).values.dtype == np.float32
    assert pad_sequences([[], [[1, 2]]]).values.tolist() == [[[0, 0]], [[1, 2]]]


def test_the_result_is_new() -> None:
    row = np.ones(3)
    assert not np.shares_memory(pad_sequences([row]).values, row)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"sequences": []}, ValueError, "sequences: expected at least one sequence, got none"),
        ({"sequences": None}, TypeError, "sequences: expected a list of arrays, got NoneType"),
        ({"sequences": [[1], ["a"]]}, TypeError, r"sequences\[1\]: expected numbers, got <U1"),
        ({"sequences": [[[1]], [[1, 2]]]}, ValueError, r"sequences\[1\]: expected shape \(T, 1\)"),
        ({"length": -1}, ValueError, "length: expected an int >= 0, got -1"),
        (
            {"padding_side": "pre"},
            ValueError,
            "padding_side: expected 'left' or 'right', got 'pre'",
        ),
        (
            {"truncation_side": ""},
            ValueError,
            "truncation_side: expected 'left' or 'right', got ''",
        ),
        ({"padding_value": 0.5}, ValueError, "padding_value: expected a value of int64, got 0.5"),
        (
            {"padding_value": np.nan},
            ValueError,
            "padding_value: expected a value of int64, got nan",
        ),
        (
            {"dtype": np.uint8, "padding_value": -1},
            ValueError,
            "padding_value: expected a value of",
        ),
        (
            {"sequences": [[1.5]], "dtype": int},
            TypeError,
            "dtype: expected one that holds float64, got int64",
        ),
        (
            {"sequences": [[1], [-5, 300]], "dtype": np.uint8},
            ValueError,
            r"dtype: expected one that holds -5\.\.300, got uint8",
        ),
        ({"dtype": "U3"}, TypeError, "dtype: expected one that holds int64, got <U3"),
    ],
)
def test_bad_arguments(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^pad_sequences: {message}"):
        pad_sequences(**({"sequences": [[1, 2], [3]]} | change))


@pytest.mark.parametrize(
    ("values", "lengths", "kind", "message"),
    [
        (np.zeros(3), [1], ValueError, r"values: expected \(B, T, ...\), got shape \(3,\)"),
        (np.zeros((2, 3)), [1], ValueError, r"lengths: expected shape \(2,\), got \(1,\)"),
        (np.zeros((2, 3)), [1, 4], ValueError, r"lengths: expected 0..3, got 4 in row 1"),
        (np.zeros((2, 3)), [1.0, 2], TypeError, "lengths: expected integers, got float64"),
    ],
)
def test_bad_unpadding(values: Any, lengths: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^unpad_sequences: {message}"):
        unpad_sequences(values, lengths)
