"""Parts and folds: nothing that is validated on was trained on, and a gap lies between."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recurra.data import blocked_folds, create_sequences, forward_folds, random_split, time_split

PARTS = st.integers(0, 9) | st.floats(0, 0.45)


@given(size=st.integers(1, 60), validation=PARTS, test=PARTS, gap=st.integers(0, 4))
def test_parts_follow_each_other(size: int, validation: float, test: float, gap: int) -> None:
    counts = [part if isinstance(part, int) else round(part * size) for part in (validation, test)]
    gaps = gap * sum(count > 0 for count in counts)
    enough = sum(counts) > 0 and size - sum(counts) - gaps > 0
    none_lost = all(bool(p) == bool(c) for p, c in zip((validation, test), counts, strict=True))
    values = np.arange(size)
    if not (enough and none_lost):
        with pytest.raises(ValueError, match=r"^time_split: "):
            time_split(values, validation, test, gap=gap)
        return
    parts = time_split(values, validation, test, gap=gap)
    assert [len(parts.validation), len(parts.test)] == counts
    assert len(parts.train) == size - sum(counts) - gaps
    assert parts.train[0] == 0
    filled = [part for part in parts if len(part)]
    assert filled[-1][-1] == size - 1
    for before, after in itertools.pairwise(filled):
        assert after[0] - before[-1] == gap + 1
    assert all(np.shares_memory(part, values) for part in filled)


def test_a_gap_keeps_windows_apart() -> None:
    """Rows of windows overlap: with a gap of window + horizon - 1, no step is in two parts."""
    window, horizon = 4, 2
    inputs, targets = create_sequences(np.arange(40), window, horizon)
    gap = window + horizon - 1
    x, y = (time_split(each, 0.2, gap=gap) for each in (inputs, targets))
    trained = {*x.train.ravel().tolist(), *y.train.ravel().tolist()}
    validated = {*x.validation.ravel().tolist(), *y.validation.ravel().tolist()}
    assert not trained & validated
    assert max(trained) + 1 == min(validated)


def test_what_has_a_length_and_slices_is_split() -> None:
    assert time_split(list("abcde"), 1, 1) == (["a", "b", "c"], ["d"], ["e"])
    assert time_split("abcde", 0.4) == ("abc", "de", "")


@given(size=st.integers(3, 60), seed=st.integers(0, 2**64 - 1))
def test_a_random_split_deals_every_row_once(size: int, seed: int) -> None:
    parts = random_split(size, 1, 1, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(size))
    assert all((np.diff(part) > 0).all() for part in parts)
    again = random_split(size, 1, 1, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_random_splits_differ() -> None:
    assert len({str(random_split(20, 0.25, seed=seed)) for seed in range(20)}) == 20


@given(
    size=st.integers(1, 60),
    folds=st.integers(1, 8),
    gap=st.integers(0, 4),
    most=st.none() | st.integers(1, 9),
)
def test_forward_folds(size: int, folds: int, gap: int, most: int | None) -> None:
    block = size // (folds + 1)
    assume(block >= 1 and size - folds * block > gap)
    rows, end = np.arange(size), size - folds * block
    pairs = list(forward_folds(size, folds, gap=gap, max_train=most))
    assert len(pairs) == folds
    for train, validation in pairs:
        assert rows[validation].tolist() == list(range(end, end + block))
        before = list(range(end - gap))
        assert rows[train].tolist() == (before if most is None else before[-most:])
        end += block
    assert end == size, "the last rows are validated on"


@given(size=st.integers(2, 60), folds=st.integers(2, 8), gap=st.integers(0, 3))
def test_blocked_folds(size: int, folds: int, gap: int) -> None:
    assume(size >= folds * (gap + 1) * 2)
    rows, validated = np.arange(size), []
    for train, validation in blocked_folds(size, folds, gap=gap):
        block = rows[validation]
        validated += block.tolist()
        far = (rows < block[0] - gap) | (rows > block[-1] + gap)
        assert train.tolist() == rows[far].tolist()
        assert len(block) in (size // folds, -(-size // folds))
    assert validated == rows.tolist()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"validation": 1.0}, ValueError, r"validation: expected a fraction in \[0, 1\) or an int"),
        ({"validation": -0.1}, ValueError, r"validation: expected a fraction in \[0, 1\)"),
        ({"test": float("nan")}, ValueError, r"test: expected a fraction in \[0, 1\) .* got nan"),
        ({"test": "half"}, ValueError, r"test: expected a fraction .* got 'half'"),
        ({"validation": True}, TypeError, "validation: expected an int, got bool"),
        ({"test": -1}, ValueError, "test: expected an int >= 0, got -1"),
        ({"validation": 0}, ValueError, "validation: expected a part besides training, got none"),
        ({"validation": 0.01}, ValueError, "validation: expected a row at least, got 0.01 of 10"),
        ({"validation": 10}, ValueError, "rows: expected at least one to train on, got 0 of 10"),
        ({"gap": 8}, ValueError, "rows: expected at least one to train on, got 0 of 10"),
        ({"gap": -1}, ValueError, "gap: expected an int >= 0, got -1"),
        ({"values": []}, ValueError, "validation: expected a row at least, got 0.2 of 0"),
    ],
)
def test_bad_splits(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^time_split: {message}"):
        time_split(**({"values": np.arange(10)} | change))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_split(0), "random_split: size: expected an int >= 1, got 0"),
        (lambda: random_split(3, 1, seed=-1), "random_split: seed: expected an int >= 0, got -1"),
        (lambda: forward_folds(3, 3), "forward_folds: size: expected rows for 4 blocks and a gap"),
        (lambda: forward_folds(9, 2, gap=3), "forward_folds: size: expected rows for 3 blocks"),
        (lambda: forward_folds(9, 0), "forward_folds: folds: expected an int >= 1, got 0"),
        (
            lambda: forward_folds(9, 1, max_train=0),
            "forward_folds: max_train: expected an int >= 1",
        ),
        (lambda: blocked_folds(9, 1), "blocked_folds: folds: expected an int >= 2, got 1"),
        (lambda: blocked_folds(3, 4), "blocked_folds: size: expected a row for each fold, got 3"),
        (lambda: blocked_folds(4, 2, gap=2), "blocked_folds: gap: expected rows to train on in"),
    ],
)
def test_bad_folds(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
