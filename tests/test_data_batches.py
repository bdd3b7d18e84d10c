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
from batches import flat, same
from recurra.data import Arrays, create_sequences, pad_sequences
from recurra.data.order import permutation

SIZES = st.integers(1, 40)
RECORDED = (
    [6, 0, 3, 5, 1, 9, 2, 7, 8, 4],
    [8, 4, 9, 7, 2, 3, 6, 5, 0, 1],
    [1, 6, 0, 5, 8, 4, 2, 9, 7, 3],
)
SEEDS = st.integers(0, 2**64 - 1)


def arrays(size: int, batch_size: int, **options: Any) -> Arrays:
    return Arrays(np.arange(size * 3.0).reshape(size, 3, 1), np.arange(size), batch_size, **options)


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
