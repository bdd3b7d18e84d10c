"""The generator: fixed bits, distributions, state, processes."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import random
from recurra.random import Generator


@pytest.fixture(autouse=True)
def _same_state_afterwards() -> Iterator[None]:
    before = random.get_state()
    yield
    random.set_state(before)


def draws(generator: Any) -> list[bytes]:
    return [
        generator.uniform((3, 2)).tobytes(),
        generator.uniform(3, -1, 1, np.float64).tobytes(),
        generator.normal((2, 2), 1, 2, np.float64).tobytes(),
        generator.normal(5).tobytes(),
        generator.dropout_mask((4, 4), 0.5).tobytes(),
    ]


def test_the_bits_of_a_seed_never_change() -> None:
    """Recorded when the generator was written: other numbers make old results irreproducible."""
    generator = Generator(2024)
    narrow = generator.uniform(3)
    assert narrow.view(np.uint32).tolist() == [1061225236, 1059542478, 1062509665]
    wide = generator.uniform(3, -2, 3, np.float64)
    assert wide.view(np.uint64).tolist() == [
        4607909766299899884,
        4610449879849803348,
        13830735630105262852,
    ]
    narrow = generator.normal(3)
    assert narrow.view(np.uint32).tolist() == [1046864100, 3210594844, 3196127542]
    wide = generator.normal(3, dtype=np.float64)
    assert wide.view(np.uint64).tolist() == [
        13825555719356978917,
        13828472496233769107,
        4602781975623460933,
    ]
    assert generator.dropout_mask(8, 0.5).tolist() == [2, 0, 2, 0, 2, 2, 0, 0]


def test_the_words_are_philox() -> None:
    """The known answer of Philox 4x64-10 with counter 0 and key 0, which Random123 publishes.

    NumPy counts up before it draws: a counter of all ones is 0 then.
    """
    philox = np.random.Philox(key=0, counter=np.full(4, 2**64 - 1, np.uint64))
    assert [f"{word:016x}" for word in philox.random_raw(4)] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]


def test_same_seed_same_bits() -> None:
    assert draws(Generator(5)) == draws(Generator(5))
    assert all(a != b for a, b in zip(draws(Generator(5)), draws(Generator(6)), strict=True))
    recurra.manual_seed(5)
    assert draws(random) == draws(Generator(5))


def test_layers_take_their_values_from_the_seed() -> None:
    def weights() -> list[bytes]:
        recurra.manual_seed(11)
        model = recurra.Sequential(
            recurra.Embedding(5, 3), recurra.LSTM(3, 4, 2, dropout=0.5), recurra.Linear(4, 5)
        )
        y = model(np.zeros((2, 6), int))
        return [a.tobytes() for a in model.state_dict().values()] + [y.data.tobytes()]

    assert weights() == weights()


def test_a_draw_does_not_depend_on_the_size_of_those_before() -> None:
    a, b = Generator(1), Generator(1)
    a.uniform(3)
    b.normal((100, 100))
    assert a.uniform(5).tobytes() == b.uniform(5).tobytes()


def test_draws_differ() -> None:
    generator = Generator(1)
    assert len({generator.uniform(2).tobytes() for _ in range(100)}) == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
class TestDistributions:
    N = 400_000

    def test_uniform(self, dtype: Any) -> None:
        u = Generator(1).uniform(self.N, dtype=dtype)
        assert u.dtype == dtype
        assert 0 <= u.min() < 1e-4
        assert 1 - 1e-4 < u.max() < 1
        assert abs(u.mean(dtype=np.float64) - 0.5) < 0.002
        assert abs(u.var(dtype=np.float64) - 1 / 12) < 0.001
        cells = np.histogram(u, 50, (0, 1))[0] * 50 / self.N
        assert abs(cells - 1).max() < 0.06

    def test_uniform_within(self, dtype: Any) -> None:
        u = Generator(1).uniform(self.N, -3, 5, dtype)
        assert -3 <= u.min() < -2.99
        assert 4.99 < u.max() <= 5

    def test_normal(self, dtype: Any) -> None:
        z = Generator(1).normal(self.N, dtype=dtype).astype(np.float64)
        assert abs(z.mean()) < 0.006
        assert abs(z.var() - 1) < 0.01
        assert abs((z**3).mean()) < 0.02
        assert abs((z**4).mean() - 3) < 0.06
        for limit, share in ((1, 0.6826895), (2, 0.9544997), (3, 0.9973002)):
            assert abs((abs(z) < limit).mean() - share) < 0.003
        assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.006

    def test_normal_scaled(self, dtype: Any) -> None:
        z = Generator(1).normal(self.N, 5, 0.1, dtype)
        assert z.dtype == dtype
        assert abs(z.mean(dtype=np.float64) - 5) < 0.001
        assert abs(z.std(dtype=np.float64) - 0.1) < 0.001

    @pytest.mark.parametrize("p", [0, 0.1, 0.9])
    def test_dropout_mask(self, dtype: Any, p: float) -> None:
        mask = Generator(1).dropout_mask((4, self.N // 4), p, dtype)
        assert mask.dtype == dtype
        assert set(np.unique(mask)) <= {0, dtype(1 / (1 - p))}
        assert abs((mask == 0).mean() - p) < 0.003


def test_the_logarithm_and_the_cosine_are_accurate() -> None:
    x = np.concatenate(
        [np.linspace(1e-9, 1, 10_001), 2.0 ** -np.arange(54.0), 1 - 2.0**-53 * np.ones(1)]
    )
    np.testing.assert_allclose(random._log(x), np.log(x), rtol=3e-16, atol=1e-16)
    t = np.linspace(0, 1, 10_001)[:-1]
    np.testing.assert_allclose(random._cos_turn(t), np.cos(2 * np.pi * t), rtol=0, atol=5e-15)


class TestState:
    def test_it_goes_on_where_it_was(self) -> None:
        generator = Generator(3)
        generator.uniform(4)
        text = json.dumps(generator.get_state())
        assert text == '{"seed": 3, "draws": 1}'
        expected = draws(generator)
        other = Generator()
        other.set_state(json.loads(text))
        assert draws(other) == expected

    def test_the_default_generator(self) -> None:
        recurra.manual_seed(3)
        random.normal(2)
        state = random.get_state()
        expected = draws(random)
        random.set_state(state)
        assert draws(random) == expected

    @pytest.mark.parametrize(
        ("state", "kind", "text"),
        [
            ({"seed": 1}, ValueError, "set_state: state: expected seed and draws, got ['seed']"),
            ({"seed": -1, "draws": 0}, ValueError, "set_state: seed: expected an int >= 0, got -1"),
            (
                {"seed": 2**64, "draws": 0},
                ValueError,
                f"set_state: seed: expected an int < 2**64, got {2**64}",
            ),
            ({"seed": 1, "draws": 0.5}, TypeError, "set_state: draws: expected an int, got float"),
        ],
    )
    def test_bad_states(self, state: Any, kind: type[Exception], text: str) -> None:
        generator = Generator(9)
        with pytest.raises(kind, match=re.escape(text)):
            generator.set_state(state)
        assert generator.get_state() == {"seed": 9, "draws": 0}

    def test_large_seeds_and_counters(self) -> None:
        generator = Generator(2**64 - 1)
        generator.set_state({"seed": 2**64 - 1, "draws": 2**64 - 1})
        assert generator.uniform(2).shape == (2,)

    def test_without_a_seed_it_is_fresh(self) -> None:
        assert Generator().get_state() != Generator().get_state()


@pytest.mark.parametrize("seed", [-1, 1.0, "1", None, True])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^manual_seed: seed: expected an int"):
        recurra.manual_seed(seed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_goes_on_with_a_copy() -> None:
    recurra.manual_seed(8)
    random.uniform(2)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, random.uniform(4).tobytes())
        finally:
            os._exit(0)  # an error too: the other tests are the parent's
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 100) == random.uniform(4).tobytes()
    os.close(reading)
