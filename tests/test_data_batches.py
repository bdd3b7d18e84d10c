"""Batches of rows: each row once an epoch, orders that repeat, views where nothing moves."""

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurra
from recurra.data import Arrays, Batch, Batches, Sequences, create_sequences, pad_sequences
from recurra.data.order import permutation

SIZES = st.integers(1, 40)
RECORDED = (
    [6, 0, 3, 5, 1, 9, 2, 7, 8, 4],
    [8, 4, 9, 7, 2, 3, 6, 5, 0, 1],
    [1, 6, 0, 5, 8, 4, 2, 9, 7, 3],
)
SEEDS = st.integers(0, 2**64 - 1)


def flat(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(i) for batch in batches.epoch(epoch) for i in batch.targets]


def arrays(size: int, batch_size: int, **options: Any) -> Arrays:
    return Arrays(np.arange(size * 3.0).reshape(size, 3, 1), np.arange(size), batch_size, **options)


def ragged(lengths: list[int], *arguments: Any, **options: Any) -> Sequences:
    """Sequences of which row i holds the numbers i + 1."""
    inputs = [np.full((length, 2), i + 1.0) for i, length in enumerate(lengths)]
    return Sequences(inputs, np.arange(len(lengths)), *arguments, **options)


def same(a: Batch, b: Batch) -> bool:
    return all(
        x is y or np.array_equal(x, y)  # None is None
        for x, y in zip(a, b, strict=True)
    )


def test_it_is_imported_when_it_is_used() -> None:
    code = "import sys, recurra; assert 'recurra.data' not in sys.modules; recurra.data.Arrays"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestOrder:
    def test_the_order_of_a_seed_never_changes(self) -> None:
        """Recorded when it was written: another order makes old trainings irreproducible."""
        assert permutation(10, 0, 0).tolist() == RECORDED[0]
        assert permutation(10, 2**64 - 1, 7).tolist() == RECORDED[1]
        assert permutation(10, 0, 0, draw=1).tolist() == RECORDED[2]

    @given(size=SIZES, seed=SEEDS, epoch=st.integers(0, 2**40))
    def test_it_has_every_number_once(self, size: int, seed: int, epoch: int) -> None:
        order = permutation(size, seed, epoch)
        assert sorted(order.tolist()) == list(range(size))
        assert order.tolist() == permutation(size, seed, epoch).tolist()

    def test_seeds_and_epochs_differ(self) -> None:
        orders = {
            tuple(permutation(20, seed, epoch, draw))
            for seed, epoch, draw in itertools.product(range(5), range(5), range(3))
        }
        assert len(orders) == 75

    def test_every_place_is_equally_likely(self) -> None:
        found = np.stack([permutation(5, seed, 0) for seed in range(4000)])
        for place in found.T:
            assert abs(np.bincount(place) / 4000 - 0.2).max() < 0.03

    def test_the_global_generator_is_left_alone(self) -> None:
        before = recurra.random.get_state()
        list(arrays(9, 2, shuffle=True, seed=1).epoch(3))
        assert recurra.random.get_state() == before


class TestArrays:
    @given(
        size=SIZES,
        batch_size=st.integers(1, 50),
        shuffle=st.booleans(),
        seed=SEEDS,
        epoch=st.integers(0, 5),
    )
    def test_every_row_exactly_once(
        self, size: int, batch_size: int, shuffle: bool, seed: int, epoch: int
    ) -> None:
        data = arrays(size, batch_size, shuffle=shuffle, seed=seed)
        batches = list(data.epoch(epoch))
        assert len(batches) == len(data) == -(-size // batch_size)
        assert all(len(batch.targets) == batch_size for batch in batches[:-1])
        assert sorted(flat(data, epoch)) == list(range(size))
        if not shuffle:
            assert flat(data, epoch) == list(range(size))
        for batch in batches:
            assert (batch.inputs[:, 0, 0] == 3 * batch.targets).all(), "rows stay together"
            assert not batch.carries

    @given(size=SIZES, seed=SEEDS, epoch=st.integers(0, 5), skip=st.integers(0, 10))
    def test_resuming_is_skipping(self, size: int, seed: int, epoch: int, skip: int) -> None:
        def made() -> Arrays:
            return arrays(size, 3, shuffle=True, seed=seed)

        whole, first = list(made().epoch(epoch)), made()
        list(first.epoch(epoch + 1))  # what was read before does not matter
        rest = itertools.islice(first.epoch(epoch), skip, None)
        for a, b in itertools.zip_longest(rest, whole[skip:]):
            assert same(a, b)

    def test_epochs_differ(self) -> None:
        data = arrays(30, 4, shuffle=True)
        assert len({tuple(flat(data, epoch)) for epoch in range(20)}) == 20

    def test_a_dropped_batch(self) -> None:
        data = arrays(7, 3, drop_last=True)
        assert flat(data) == list(range(6))
        assert len(data) == 2
        data = arrays(7, 3, drop_last=True, shuffle=True)
        left_out = {(set(range(7)) - set(flat(data, epoch))).pop() for epoch in range(60)}
        assert left_out == set(range(7)), "another row every time"
        assert flat(arrays(6, 3, drop_last=True)) == list(range(6))

    def test_nothing_is_copied_in_order(self) -> None:
        x, y = np.zeros((7, 4, 2)), np.zeros((7, 4))
        n, w = np.arange(7) % 5, np.ones((7, 4))
        data = Arrays((x, y), (y, y), 3, lengths=n, weights=w)
        for batch in data.epoch(0):
            for view, whole in zip((*batch.inputs, *batch.targets), (x, y, y, y), strict=True):
                assert np.shares_memory(view, whole)
            assert np.shares_memory(batch.weights, w)
            assert np.shares_memory(batch.lengths, data.lengths)
            assert not np.shares_memory(batch.lengths, n), "lengths are checked on a private copy"

    def test_windows_are_never_laid_out(self) -> None:
        """A series of a million steps and windows of ten thousand: 80 GB if it were."""
        series = np.zeros(1_000_000)
        x, y = create_sequences(series, 10_000)
        batch = next(Arrays(x, y, 4).epoch(0))
        assert np.shares_memory(batch.inputs, series)
        batch = next(Arrays(x, y, 4, shuffle=True).epoch(0))
        assert batch.inputs.shape == (4, 10_000, 1)

    def test_a_file_in_memory(self, tmp_path: Any) -> None:
        np.save(tmp_path / "x.npy", np.arange(12.0).reshape(4, 3, 1))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert all(
            np.shares_memory(batch.inputs, mapped) for batch in Arrays(mapped, mapped, 3).epoch(0)
        )

    def test_several_arrays_lengths_and_weights(self) -> None:
        x = np.arange(10.0).reshape(5, 2)
        data = Arrays((x, x + 1), (x + 2, np.arange(5)), 2, lengths=[2, 0, 1, 2, 2], weights=x)
        rows: Any = list(data.epoch(0))
        assert [b.lengths.tolist() for b in rows] == [[2, 0], [1, 2], [2]]
        assert rows[0].lengths.dtype == np.int64
        data = Arrays(
            x, np.arange(5), 2, lengths=[2, 0, 1, 2, 2], weights=x[:, 0], shuffle=True, seed=4
        )
        for batch in data.epoch(2):
            assert (batch.weights == x[batch.targets, 0]).all()
            assert (batch.lengths == np.array([2, 0, 1, 2, 2])[batch.targets]).all()

    def test_one_row_and_a_batch_larger_than_the_data(self) -> None:
        assert flat(arrays(1, 100, shuffle=True)) == [0]
        assert flat(arrays(3, 100)) == [0, 1, 2]

    X = np.zeros((4, 3, 2))

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            ({"inputs": X[:0]}, ValueError, "inputs: expected at least one row, got 0"),
            ({"inputs": 3.0}, ValueError, r"inputs: expected rows \(n, ...\), got shape \(\)"),
            ({"inputs": ()}, ValueError, "inputs: expected something in the tuple, got nothing"),
            ({"inputs": pad_sequences(X)}, TypeError, "inputs: expected an array .* got Padded"),
            ({"inputs": [[1], [2, 3]]}, ValueError, "inputs: expected rows of one shape"),
            ({"inputs": ["a", "b"]}, TypeError, "inputs: expected numbers, got <U1"),
            ({"inputs": [None] * 4}, TypeError, "inputs: expected numbers, got object"),
            ({"inputs": (X, X[:3])}, ValueError, "inputs: expected 4 rows as in inputs, got 3"),
            ({"targets": X[:3]}, ValueError, "targets: expected 4 rows as in inputs, got 3"),
            ({"targets": (X, X[1:])}, ValueError, "targets: expected 4 rows as in inputs, got 3"),
            ({"targets": np.array(["cat"] * 4)}, TypeError, "targets: expected numbers, got <U3"),
            ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
            ({"batch_size": 2.0}, TypeError, "batch_size: expected an int, got float"),
            ({"lengths": [1, 2, 3]}, ValueError, r"lengths: expected shape \(4,\), got \(3,\)"),
            ({"lengths": [1.0] * 4}, TypeError, "lengths: expected integers, got float64"),
            ({"lengths": [1, 2, 4, 0]}, ValueError, r"lengths: expected 0..3, got 4 in row 2"),
            ({"lengths": [1, -2, 0, 0]}, ValueError, r"lengths: expected 0..3, got -2 in row 1"),
            ({"weights": [1, 1, 1, 1]}, TypeError, "weights: expected float32 or float64, got int"),
            ({"weights": np.ones((4, 2))}, ValueError, r"weights: expected shape \(n,\) = \(4,\)"),
            ({"weights": [1.0, np.nan, 0, 0]}, ValueError, "weights: expected finite .* got nan"),
            ({"weights": [1.0, -1.0, 0, 0]}, ValueError, "weights: expected finite .* got -1.0"),
            ({"seed": -1}, ValueError, "seed: expected an int >= 0, got -1"),
            ({"seed": 2**64}, ValueError, r"seed: expected an int < 2\*\*64"),
            (
                {"batch_size": 5, "drop_last": True},
                ValueError,
                "drop_last: expected at least batch_size = 5 rows, got 4",
            ),
        ],
    )
    def test_bad_arguments(
        self, change: dict[str, Any], kind: type[Exception], message: str
    ) -> None:
        arguments = {"inputs": self.X, "targets": self.X, "batch_size": 2} | change
        with pytest.raises(kind, match=f"^Arrays: {message}"):
            Arrays(**arguments)

    @pytest.mark.parametrize("number", [-1, 0.0, "1"])
    def test_bad_epochs(self, number: Any) -> None:
        with pytest.raises((TypeError, ValueError), match=r"^epoch: number: expected an int"):
            arrays(3, 2).epoch(number)


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
