"""Batches of sequences: padding, buckets, budgets, and targets of every kind."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurra
from batches import flat, same
from recurra.data import Sequences

SEEDS = st.integers(0, 2**64 - 1)


def ragged(lengths: list[int], *arguments: Any, **options: Any) -> Sequences:
    """Sequences of which row i holds the numbers i + 1."""
    inputs = [np.full((length, 2), i + 1.0) for i, length in enumerate(lengths)]
    return Sequences(inputs, np.arange(len(lengths)), *arguments, **options)


class TestSequences:
    LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=30)

    @given(
        lengths=LENGTHS,
        batch_size=st.integers(1, 9),
        width=st.none() | st.integers(1, 20),
        shuffle=st.booleans(),
        seed=SEEDS,
        epoch=st.integers(0, 5),
    )
    def test_every_row_exactly_once(
        self,
        lengths: list[int],
        batch_size: int,
        width: int | None,
        shuffle: bool,
        seed: int,
        epoch: int,
    ) -> None:
        data = ragged(lengths, batch_size, bucket_width=width, shuffle=shuffle, seed=seed)
        batches: Any = list(data.epoch(epoch))
        assert len(batches) == len(data) == -(-len(lengths) // batch_size)
        assert sorted(flat(data, epoch)) == list(range(len(lengths)))
        for batch in batches:
            assert batch.lengths.tolist() == [lengths[i] for i in batch.targets]
            assert batch.inputs.shape[1] == max(1, *batch.lengths)
            for row, length, i in zip(batch.inputs, batch.lengths, batch.targets, strict=True):
                assert (row[:length] == i + 1).all()
                assert (row[length:] == 0).all()
        again = ragged(lengths, batch_size, bucket_width=width, shuffle=shuffle, seed=seed)
        assert all(map(same, batches, again.epoch(epoch)))

    @given(
        lengths=LENGTHS,
        tokens=st.integers(12, 60),
        batch_size=st.none() | st.integers(1, 9),
        width=st.integers(1, 20),
        seed=SEEDS,
    )
    def test_a_budget_of_tokens(
        self, lengths: list[int], tokens: int, batch_size: int | None, width: int, seed: int
    ) -> None:
        data = ragged(
            lengths, batch_size, max_tokens=tokens, bucket_width=width, shuffle=True, seed=seed
        )
        for epoch in range(3):
            batches = list(data.epoch(epoch))
            assert len(batches) == len(data)
            assert sorted(flat(data, epoch)) == list(range(len(lengths)))
            assert all(batch.inputs[..., 0].size <= tokens for batch in batches)
            assert all(len(batch.inputs) <= (batch_size or 99) for batch in batches)

    def test_a_budget_is_used(self) -> None:
        data = ragged([3] * 10, max_tokens=12)
        assert [batch.inputs.shape[:2] for batch in data.epoch(0)] == [(4, 3), (4, 3), (2, 3)]
        data = ragged([3] * 10, 3, max_tokens=12)
        assert [len(batch.inputs) for batch in data.epoch(0)] == [3, 3, 3, 1]

    def test_rows_of_no_steps_cost_their_padding(self) -> None:
        data = ragged([0] * 10, max_tokens=4)
        assert [batch.inputs.shape[:2] for batch in data.epoch(0)] == [(4, 1), (4, 1), (2, 1)]

    def test_buckets_save_padding(self) -> None:
        lengths = np.random.default_rng(0).integers(1, 100, 400).tolist()

        def padded(width: int | None) -> float:
            data = ragged(lengths, 16, bucket_width=width, shuffle=True)
            return sum(batch.inputs[..., 0].size for batch in data.epoch(0)) / sum(lengths)

        assert padded(None) > 1.7
        assert padded(10) < 1.15
        assert padded(1) < 1.05

    def test_rows_of_a_bucket_and_batches_are_shuffled(self) -> None:
        data = ragged([1, 2, 3, 4] * 5, 5, bucket_width=2, shuffle=True, seed=1)
        orders = [[sorted(batch.targets.tolist()) for batch in data.epoch(e)] for e in range(8)]
        assert len({str(order) for order in orders}) == 8
        assert len({str(sorted(order)) for order in orders}) == 8, "batches are of other rows"
        firsts = {batch[0] % 4 // 2 for batch in (order[0] for order in orders)}
        assert firsts == {0, 1}, "short rows do not always come first"

    def test_the_batches_are_as_long_in_every_epoch(self) -> None:
        data = ragged([1, 5, 2, 5, 3, 5, 1], 2, bucket_width=1, shuffle=True)
        assert data.steps == [1, 3, 5, 5]
        for epoch in range(4):
            assert sorted(batch.inputs.shape[1] for batch in data.epoch(epoch)) == [1, 3, 5, 5]
        assert ragged([1, 5, 2], 2).steps == [5, 2]
        assert ragged([4, 4, 4], 2, shuffle=True).steps == [4, 4]
        assert ragged([0, 0], 2).steps == [1]
        for width in (None, 2):
            with pytest.raises(ValueError, match="steps: expected the same in every epoch"):
                _ = ragged([1, 5, 2], 2, shuffle=True, bucket_width=width).steps

    def test_a_row_alone_is_a_view(self) -> None:
        x = [np.ones((n, 2)) for n in (3, 1)]
        y = [np.ones(n) for n in (3, 1)]
        for i, batch in enumerate(Sequences(x, y, 1, weights=y).epoch(0)):
            assert np.shares_memory(batch.inputs, x[i])
            assert np.shares_memory(batch.targets, y[i])
            assert np.shares_memory(batch.weights, y[i])

    def test_targets_of_every_kind(self) -> None:
        x, y = [[1, 2], [3]], [[5, 6], [7]]
        batch: Any = next(Sequences(x, y, 2, padding_value=-1, target_padding_value=-100).epoch(0))
        assert batch.inputs.tolist() == [[1, 2], [3, -1]]
        assert batch.targets.tolist() == [[5, 6], [7, -100]]
        batch = next(Sequences((x, y), (y, [1, 0]), 2, weights=[[1.0, 0.5], [2.0]]).epoch(0))
        assert [part.tolist() for part in batch.inputs] == [[[1, 2], [3, 0]], [[5, 6], [7, 0]]]
        assert [part.tolist() for part in batch.targets] == [[[5, 6], [7, 0]], [1, 0]]
        assert batch.weights.tolist() == [[1, 0.5], [2, 0]]
        batch = next(Sequences(x, np.eye(2), 2, weights=np.ones(2)).epoch(0))
        assert batch.targets.tolist() == [[1, 0], [0, 1]]

    def test_targets_with_lengths_of_their_own(self) -> None:
        x, y = [np.ones((4, 1)), np.ones((2, 1))], [[5], [7, 8, 9]]
        batch: Any = next(Sequences(x, y, 2, target_lengths=True).epoch(0))
        assert [part.tolist() for part in batch.targets] == [[[5, 0, 0], [7, 8, 9]], [1, 3]]
        assert batch.lengths.tolist() == [4, 2]
        batch = next(Sequences((x, y), (y, [1, 0]), 2, target_lengths=True).epoch(0))
        assert [part.shape for part in batch.targets] == [(2, 3), (2,), (2,)]
        assert [part.shape for part in batch.inputs] == [(2, 4, 1), (2, 3)]

    def test_rows_of_no_steps(self) -> None:
        batch: Any = next(Sequences([[], [1, 2], []], [0, 1, 0], 3).epoch(0))
        assert batch.inputs.tolist() == [[0, 0], [1, 2], [0, 0]]
        assert batch.inputs.dtype == np.int64
        batch = next(Sequences([[], []], [0, 1], 2).epoch(0))
        assert batch.inputs.shape == (2, 1)
        assert batch.lengths.tolist() == [0, 0]

    def test_a_layer_takes_a_batch(self) -> None:
        layer = recurra.GRU(2, 3)
        for batch in ragged([3, 0, 5, 1], 3, shuffle=True).epoch(0):
            y, _ = layer(batch.inputs.astype(np.float32), lengths=batch.lengths)
            assert y.shape == (*batch.inputs.shape[:2], 3)

    X: tuple[Any, ...] = ([1, 2], [3], [4, 5, 6])

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            ({"inputs": []}, ValueError, "inputs: expected at least one sequence, got none"),
            ({"inputs": ()}, ValueError, "inputs: expected something in the tuple, got nothing"),
            ({"inputs": 3}, TypeError, "inputs: expected a list of arrays, got int"),
            ({"inputs": "abc"}, TypeError, "inputs: expected a list of arrays, got str"),
            ({"inputs": [[1], ["a"], [2]]}, TypeError, r"inputs\[1\]: expected numbers, got <U1"),
            ({"inputs": [[1], [[2]], [3]]}, ValueError, r"inputs\[1\]: expected shape \(T,\)"),
            ({"inputs": [[[1]], [[2, 3]]]}, ValueError, r"inputs\[1\]: expected shape \(T, 1\)"),
            ({"inputs": [1, 2, 3]}, ValueError, r"inputs\[0\]: expected shape \(T,\), got \(\)"),
            ({"inputs": ([[1]] * 3, [[1]])}, ValueError, "inputs: expected 3 rows as in inputs"),
            ({"targets": [1, 2]}, ValueError, "targets: expected 3 rows as in inputs, got 2"),
            ({"targets": [[1, 2], [3], [4]]}, ValueError, r"targets\[2\]: expected 3 steps as in"),
            ({"targets": ["a", "b", "c"]}, TypeError, "targets: expected numbers, got <U1"),
            ({"weights": [[1.0], [1.0], [1.0]]}, ValueError, r"weights\[0\]: expected 2 steps as"),
            ({"weights": [1, 1, 1]}, TypeError, "weights: expected float32 or float64, got int"),
            ({"weights": np.ones((3, 1))}, ValueError, r"weights: expected shape \(n,\) or a list"),
            (
                {"batch_size": None},
                ValueError,
                "batch_size: expected it or max_tokens, got neither",
            ),
            ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
            ({"max_tokens": 2}, ValueError, "max_tokens: expected at least 3, the longest row"),
            ({"max_tokens": 9.5}, TypeError, "max_tokens: expected an int, got float"),
            (
                {"max_tokens": 9, "shuffle": True},
                ValueError,
                "max_tokens: expected bucket_width with shuffle",
            ),
            ({"bucket_width": 0}, ValueError, "bucket_width: expected an int >= 1, got 0"),
            (
                {"bucket_width": 1, "drop_last": True},
                ValueError,
                "drop_last: expected neither bucket_width nor max_tokens",
            ),
            (
                {"batch_size": 4, "drop_last": True},
                ValueError,
                "drop_last: expected at least batch_size = 4 rows, got 3",
            ),
            ({"padding_value": 0.5}, ValueError, "padding_value: expected a value of int64, got"),
            (
                {"targets": list(X), "target_padding_value": np.nan},
                ValueError,
                "target_padding_value: expected a value of int64, got nan",
            ),
            ({"seed": "0"}, TypeError, "seed: expected an int, got str"),
        ],
    )
    def test_bad_arguments(
        self, change: dict[str, Any], kind: type[Exception], message: str
    ) -> None:
        arguments = {"inputs": list(self.X), "targets": [0, 1, 2], "batch_size": 2} | change
        with pytest.raises(kind, match=f"^Sequences: {message}"):
            Sequences(**arguments)
