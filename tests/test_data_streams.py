"""Contiguous streams and chunks: the state that training carries belongs to what comes next."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurra
from recurra.data import Arrays, Batch, Chunks, Sequences, Streams
from recurra.text import Windows

SMALL = st.integers(1, 12)


@given(size=st.integers(2, 300), batch_size=SMALL, window=st.integers(1, 40))
def test_streams_follow_each_other_and_cover_the_series(
    size: int, batch_size: int, window: int
) -> None:
    values = np.arange(size * 2.0).reshape(size, 2)
    data = Streams(values, batch_size, window)
    batches: Any = list(data.epoch(0))
    assert len(batches) == len(data)
    assert [batch.carries for batch in batches] == [False] + [True] * (len(data) - 1)
    assert [batch.inputs.shape[1] for batch in batches] == data.steps
    inputs = np.concatenate([batch.inputs for batch in batches], axis=1)
    targets = np.concatenate([batch.targets for batch in batches], axis=1)
    assert np.array_equal(targets, inputs + 2), "a target is the next value"
    assert np.array_equal(inputs.reshape(-1, 2), values[: inputs.shape[0] * inputs.shape[1]])
    assert 0 <= size - 1 - inputs.shape[0] * inputs.shape[1] < batch_size
    assert all(np.shares_memory(batch.inputs, values) for batch in batches)
    assert all(np.shares_memory(batch.targets, values) for batch in batches)


@given(size=st.integers(2, 100), batch_size=SMALL, window=SMALL)
def test_windows_of_text_are_streams(size: int, batch_size: int, window: int) -> None:
    ids = np.arange(size)
    batches = Streams(ids, batch_size, window).epoch(3)
    for (inputs, targets), batch in zip(Windows(ids, batch_size, window), batches, strict=True):
        assert np.array_equal(inputs, batch.inputs)
        assert np.array_equal(targets, batch.targets)


def test_targets_of_their_own() -> None:
    values, labels = np.arange(10.0), np.arange(10) % 3
    batches: Any = list(Streams(values, 2, 3, targets=labels).epoch(0))
    assert [batch.inputs.tolist() for batch in batches] == [
        [[0, 1, 2], [5, 6, 7]],
        [[3, 4], [8, 9]],
    ]
    assert batches[1].targets.tolist() == [[0, 1], [2, 0]]
    assert all(np.shares_memory(batch.targets, labels) for batch in batches)
    only: Any = next(Streams([5.0], 3, 3, targets=[1]).epoch(0))
    assert only.inputs.tolist() == [[5]]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"values": []}, ValueError, "values: expected at least one row, got 0"),
        ({"values": [1]}, ValueError, "values: expected at least 2 steps, got 1"),
        ({"values": "text"}, TypeError, "values: expected numbers, got <U4"),
        ({"targets": [1, 2]}, ValueError, "targets: expected 9 steps as in values, got 2"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
        ({"window": 0}, ValueError, "window: expected an int >= 1, got 0"),
    ],
)
def test_bad_streams(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^Streams: {message}"):
        Streams(**({"values": np.arange(9), "batch_size": 2, "window": 3} | change))


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=20),
    batch_size=SMALL,
    window=SMALL,
    epoch=st.integers(0, 3),
)
def test_chunks_make_up_their_batches(
    lengths: list[int], batch_size: int, window: int, epoch: int
) -> None:
    x = [np.arange(n * 2.0).reshape(n, 2) + 1 for n in lengths]
    y = [np.arange(n) + 100 * i for i, n in enumerate(lengths)]
    whole = Sequences(x, y, batch_size, weights=y_weights(y), bucket_width=1, shuffle=True, seed=5)
    data = Chunks(whole, window)
    chunks = list(data.epoch(epoch))
    assert len(chunks) == len(data)
    rest = iter(chunks)
    for batch in whole.epoch(epoch):
        parts = list(itertools.islice(rest, -(-batch.inputs.shape[1] // window)))
        assert [part.carries for part in parts] == [False] + [True] * (len(parts) - 1)
        for name in ("inputs", "targets", "weights"):
            joined = np.concatenate([getattr(part, name) for part in parts], axis=1)
            assert np.array_equal(joined, getattr(batch, name))
        counts: Any = [part.lengths for part in parts]
        assert np.array_equal(sum(counts), batch.lengths)
        assert all(part.inputs.shape[1] <= window for part in parts)
        assert batch.lengths is not None
        if batch.lengths.any():
            assert all(part.lengths.any() for part in parts), "each chunk has something to learn"


def y_weights(y: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ones(len(row)) for row in y]


def test_a_carried_state_gives_the_bits_of_the_whole_batch() -> None:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((n, 2)).astype(np.float32) for n in (7, 3, 0, 5)]
    whole = Sequences(x, x, 4)
    layer = recurra.LSTM(2, 5)
    batch = next(whole.epoch(0))
    y, (h, c) = layer(batch.inputs, lengths=batch.lengths)
    state, found = None, []
    for chunk in Chunks(whole, 2).epoch(0):
        out, state = layer(chunk.inputs, state if chunk.carries else None, lengths=chunk.lengths)
        found.append(out.data)
    assert np.concatenate(found, axis=1).tobytes() == y.data.tobytes()
    assert state is not None
    assert state[0].data.tobytes() == h.data.tobytes()
    assert state[1].data.tobytes() == c.data.tobytes()


def test_chunks_of_arrays() -> None:
    x = np.arange(24.0).reshape(3, 8, 1)
    data = Chunks(Arrays(x, (x, x), 2, shuffle=True, weights=np.ones(3)), 3)
    assert len(data) == 6
    chunks: Any = list(data.epoch(0))
    shapes = [chunk.inputs.shape[:2] for chunk in chunks]
    assert shapes == [(2, 3), (2, 3), (2, 2), (1, 3), (1, 3), (1, 2)]
    assert all(chunk.weights.shape == chunk.inputs.shape[:1] for chunk in chunks)
    # The steps that no row has are left out.
    data = Chunks(Arrays(x, x, 2, lengths=[4, 2, 1]), 3)
    assert all(np.shares_memory(chunk.inputs, x) for chunk in data.epoch(0))
    assert [chunk.inputs.shape[:2] for chunk in data.epoch(0)] == [(2, 3), (2, 1), (1, 1)]
    assert len(data) == 3


def test_chunks_of_what_carries_already_carry() -> None:
    data = Chunks(Streams(np.arange(21), 2, 5), 3)
    assert [chunk.carries for chunk in data.epoch(0)] == [False, True, True, True]
    assert len(data) == 4


class Own:
    """A set of batches that somebody wrote."""

    steps = (4,)

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int) -> Any:
        yield Batch(np.zeros((2, 4, 1)), np.zeros(2))


@pytest.mark.parametrize(
    ("batches", "kind", "message"),
    [
        (
            [1, 2],
            TypeError,
            "batches: expected Arrays, Sequences or a class with `steps`, got list",
        ),
        (
            Arrays(np.zeros((4, 3)), np.zeros(4), 2, lengths=[1, 2, 3, 3], shuffle=True),
            ValueError,
            "steps: expected the same in every epoch",
        ),
    ],
)
def test_bad_chunks(batches: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Chunks(batches, 3)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (Own(), r"targets: expected \(B, T, ...\) with T = 4, got shape \(2,\)"),
        (Arrays(np.zeros((4, 3)), np.zeros(4), 2), r"targets: expected .* T = 3, got shape \(2,\)"),
        (Arrays(np.zeros(4), np.zeros(4), 2), r"inputs: expected .* T = 1, got shape \(2,\)"),
    ],
)
def test_a_target_a_row_cannot_be_cut(batches: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^Chunks: {message}"):
        next(Chunks(batches, 3).epoch(0))


def test_bad_windows_and_epochs() -> None:
    x = np.zeros((2, 3, 1))
    with pytest.raises(ValueError, match="Chunks: window: expected an int >= 1, got 0"):
        Chunks(Arrays(x, x, 2), 0)
    with pytest.raises(ValueError, match="epoch: number: expected an int >= 0, got -1"):
        Streams(np.arange(4), 1, 2).epoch(-1)
