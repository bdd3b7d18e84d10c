"""`Sequential` with lengths and states: the bits of the composition written by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Module, Sequential, Tensor, no_grad
from recurra.data import Batch, Chunks, Sequences, Streams
from recurra.train import evaluate, fit
from recurra.train.calling import detached
from tensor_gradients import array
from training import Given

B, T, V, E = 4, 13, 11, 6
LENGTHS = np.array([13, 7, 0, 4])
IDS = np.random.default_rng(0).integers(0, V, (B, T))
X = array(B, T, E)


def ragged() -> Sequential:
    """What takes lengths as they are, what changes them, what ends them, what knows none."""
    recurra.manual_seed(0)
    return Sequential(
        recurra.Embedding(V, E, dtype=np.float64),
        recurra.Conv1d(E, 8, 3, stride=2, padding=1, dtype=np.float64),
        recurra.ops.tanh,
        recurra.BatchNorm(8, dtype=np.float64).eval(),
        recurra.LSTM(8, 5, bidirectional=True, dtype=np.float64),
        recurra.MultiheadAttention(10, 2, dtype=np.float64),
        recurra.MaxPool1d(2),
        recurra.GlobalPool1d("mean"),
        recurra.BatchNorm(10, dtype=np.float64).eval(),
        recurra.Linear(10, 3, dtype=np.float64),
    )


def by_hand(model: Sequential, ids: np.ndarray, lengths: np.ndarray) -> Tensor:
    embedding, conv, tanh, norm, lstm, attention, pool, mean, last, out = model.layers
    y = tanh(conv(embedding(ids), lengths=lengths))
    lengths = conv.output_lengths(lengths)
    y, _ = lstm(norm(y, lengths=lengths), lengths=lengths)
    y, _ = attention(y, y, y, lengths=lengths)
    y = mean(pool(y, lengths=lengths), lengths=pool.output_lengths(lengths))
    result: Tensor = out(last(y))
    return result


def recurrent(**options: Any) -> Sequential:
    """Two layers with a state, one in a `Sequential` of its own, and one of the user's."""
    recurra.manual_seed(0)
    return Sequential(
        recurra.Linear(E, 4, dtype=np.float64),
        recurra.LSTM(4, 5, 2, dtype=np.float64, **options),
        Sequential(recurra.ops.tanh, recurra.GRU(5, 3, dtype=np.float64)),
        Counter(),
        recurra.Linear(3, 2, dtype=np.float64),
    )


class Counter(Module):
    """A state that is no array of floats: how many steps there were."""

    def forward(self, x: Any, state: Any = None) -> Any:
        return x, (state or 0) + x.shape[1]


def gradients(model: Module, loss: Tensor) -> dict[str, np.ndarray]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


class TestLengths:
    def test_it_is_the_composition_by_hand(self) -> None:
        model = ragged()
        y = model(IDS, lengths=LENGTHS)
        found = gradients(model, (y * y).sum())
        wanted = by_hand(model, IDS, LENGTHS)
        assert y.data.tobytes() == wanted.data.tobytes()
        for name, g in gradients(model, (wanted * wanted).sum()).items():
            assert found[name].tobytes() == g.tobytes(), name

    def test_a_row_has_the_bits_that_it_has_alone(self) -> None:
        model = ragged()
        y = model(IDS, lengths=LENGTHS).data
        for b, n in enumerate(LENGTHS):
            if n:
                assert model(IDS[b : b + 1, :n]).data.tobytes() == y[b].tobytes()
        assert model(IDS, lengths=np.full(B, T)).data.tobytes() == model(IDS).data.tobytes()

    def test_what_lies_behind_reaches_nothing(self) -> None:
        model, other = ragged(), IDS.copy()
        other[np.arange(T) >= LENGTHS[:, None]] = 0
        ends = []
        for ids in (IDS, other):
            y = model(ids, lengths=LENGTHS)
            ends.append([y.data, *gradients(model, (y * y).sum()).values()])
        for one, two in zip(*ends, strict=True):
            assert one.tobytes() == two.tobytes()

    def test_inside_each_other(self) -> None:
        model = ragged()
        nested = Sequential(Sequential(*model.layers[:3]), Sequential(*model.layers[3:]))
        y = nested(IDS, lengths=LENGTHS)
        assert y.data.tobytes() == model(IDS, lengths=LENGTHS).data.tobytes()
        assert nested[0].output_lengths(LENGTHS).tolist() == [7, 4, 0, 2]
        assert nested.output_lengths(LENGTHS) is None

    def test_a_function_that_names_them_gets_them(self) -> None:
        def total(x: Any, lengths: Any) -> Any:
            return np.where(np.arange(T) < lengths[:, None], x, 0).sum(1)

        wanted = [row[:n].sum() for row, n in zip(IDS, LENGTHS, strict=True)]
        assert Sequential(total)(IDS, lengths=LENGTHS).tolist() == wanted

    def test_parts_of_rows(self) -> None:
        recurra.manual_seed(0)
        pool, gru = recurra.AdaptiveAvgPool1d(3), recurra.GRU(E, 2, dtype=np.float64)
        y, state = Sequential(pool, gru)(X, lengths=LENGTHS)
        wanted, last = gru(pool(X, LENGTHS), lengths=[3, 3, 0, 3])
        assert y.data.tobytes() == wanted.data.tobytes()
        assert state.data.tobytes() == last.data.tobytes()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_attention_of_inputs_to_each_other(self, dtype: Any) -> None:
        x = X.astype(dtype)
        for layer in (
            recurra.MultiheadAttention(E, 2, dtype=dtype),
            recurra.LuongAttention("dot", E, E, dtype=dtype),
            recurra.AdditiveAttention(E, E, 3, dtype=dtype),
        ):
            y, weights = Sequential(layer)(x, lengths=LENGTHS)
            wanted = layer(x, x, x, lengths=LENGTHS)
            assert y.data.tobytes() == wanted[0].data.tobytes()
            assert weights.data.tobytes() == wanted[1].data.tobytes()


class TestState:
    @pytest.mark.parametrize("cuts", [[T], [5, 8], [1] * T, [2, 4, 7]])
    def test_windows_are_the_whole(self, cuts: list[int]) -> None:
        model = recurrent()
        whole, last = model(X, state=None)
        assert whole.data.tobytes() == model(X).data.tobytes()
        state, parts = None, []
        for part in np.split(X, np.cumsum(cuts)[:-1], axis=1):
            y, state = model(part, state=state)
            parts.append(y.data)
        assert np.concatenate(parts, 1).tobytes() == whole.data.tobytes()
        assert leaves(state) == leaves(last)

    def test_gradients_flow_through_the_state(self) -> None:
        model = recurrent()
        wanted = gradients(model, model(X)[:, -1].sum())
        _, state = model(X[:, :6], state=None)
        found = gradients(model, model(X[:, 6:], state=state)[0][:, -1].sum())
        for name, g in wanted.items():
            np.testing.assert_allclose(found[name], g, rtol=1e-10, atol=1e-14)
        stopped = gradients(model, model(X[:, 6:], state=detached(state))[0][:, -1].sum())
        assert any((stopped[name] != found[name]).any() for name in found)

    def test_with_lengths_it_is_the_state_at_them(self) -> None:
        model = recurrent()
        y, (lstm, (gru,), _) = model(X, lengths=LENGTHS, state=None)
        for b, n in enumerate(LENGTHS):
            alone, (h, (last,), _) = model(X[b : b + 1, :n], state=None)
            assert y.data[b, :n].tobytes() == alone.data[0].tobytes()
            assert gru.data[:, b].tobytes() == last.data[:, 0].tobytes()
            for part, wanted in zip(lstm, h, strict=True):
                assert part.data[:, b].tobytes() == wanted.data[:, 0].tobytes()

    def test_a_stream_has_the_bits_of_packed_steps(self) -> None:
        recurra.manual_seed(0)
        model = Sequential(recurra.GRU(E, 5, dtype=np.float64))
        packed, state, own = model[0].packed(), None, None
        with no_grad():
            for t in range(T):
                wanted, state = packed.step(X[:, t], state)
                y, own = model(X[:, t : t + 1], state=own)
                assert y.data[:, 0].tobytes() == wanted.tobytes()

    def test_of_the_last_layer_only_y_is_the_output(self) -> None:
        gru = recurra.GRU(E, 5, dtype=np.float64)
        y, (state,) = Sequential(gru)(X, state=None)
        whole, last = Sequential(gru)(X)
        assert y.data.tobytes() == whole.data.tobytes()
        assert state.data.tobytes() == last.data.tobytes()


def leaves(state: Any) -> list[Any]:
    if isinstance(state, tuple):
        return [leaf for part in state for leaf in leaves(part)]
    return [state.data.tobytes() if isinstance(state, Tensor) else state]


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "lengths, for nobody": (
        lambda: Sequential(recurra.Linear(E, 2), recurra.ops.tanh)(X, lengths=LENGTHS),
        TypeError,
        "Sequential: lengths: expected a layer that takes them, got none",
    ),
    "a state, for nobody": (
        lambda: Sequential(recurra.Linear(E, 2))(X, state=None),
        TypeError,
        "Sequential: state: expected a layer that takes one, got none",
    ),
    "too few states": (
        lambda: recurrent()(X, state=(None,)),
        TypeError,
        "Sequential: state: expected a tuple of 3, one for each layer that takes a state, got "
        "1 of them",
    ),
    "a state alone": (
        lambda: recurrent()(X, state=np.zeros((1, B, 5))),
        TypeError,
        "Sequential: state: expected a tuple of 3, one for each layer that takes a state, got "
        "ndarray",
    ),
    "no time axis": (
        lambda: recurrent()(X[0, 0], lengths=LENGTHS),
        ValueError,
        "Sequential: x: expected shape (B, T, ...) with lengths, got (6,)",
    ),
    "a function that changes the steps": (
        lambda: Sequential(lambda x: x[:, ::2], recurra.GlobalPool1d("max"))(X, lengths=LENGTHS),
        ValueError,
        "Sequential: lengths: expected x of shape (B, T, ...) with T = 13 at layer 1, got "
        "(4, 7, 6); a layer before that changes T needs `output_lengths`",
    ),
    "a layer without the state it takes": (
        lambda: Sequential(lambda x, state: x)(X, state=None),
        TypeError,
        "Sequential: state: expected (outputs, state) from layer 0, which takes a state, got "
        "ndarray",
    ),
    "lengths that are too long": (
        lambda: ragged()(IDS, lengths=LENGTHS + 1),
        ValueError,
        "Conv1d: lengths: expected 0 <= length <= T = 13, got 14 at (0,)",
    ),
    "no function": (
        lambda: Sequential(recurra.Linear(2, 2), 3),  # type: ignore[arg-type]
        TypeError,
        "Sequential: layers: expected modules and functions, got int",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, text = REFUSED[name]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_a_subclass_may_take_less() -> None:
    class Plain(Sequential):
        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return super().forward(x)

    plain = Plain(recurra.GRU(E, 2, dtype=np.float64), recurra.Linear(2, 1, dtype=np.float64))
    assert Sequential(plain).takes == frozenset()
    assert evaluate(plain, Given(Batch(X, X[..., :1])), recurra.mse)["loss"] > 0


class Composition(Module):
    """A tagger written by hand."""

    def __init__(self) -> None:
        self.layers = tagger().layers

    def forward(self, x: Any, lengths: Any = None, state: Any = None) -> Any:
        embedding, rnn, drop, out = self.layers
        y, state = rnn(embedding(x), lengths=lengths, state=state)
        return out(drop(y)), state


def tagger() -> Sequential:
    recurra.manual_seed(0)
    return Sequential(
        recurra.Embedding(V, E), recurra.LSTM(E, 5, 2), recurra.Dropout(0.2), recurra.Linear(5, 3)
    )


def sequences() -> Sequences:
    rows = [IDS[b, : max(n, 1)] for b, n in enumerate(LENGTHS)]
    return Sequences(rows, [row % 3 for row in rows], batch_size=2)


class TestFit:
    @pytest.mark.parametrize("kind", ["lengths", "carries", "both"])
    def test_it_trains_as_the_composition(self, kind: str) -> None:
        data: Any = {
            "lengths": sequences(),
            "carries": Streams(IDS.ravel(), 2, 4, targets=IDS.ravel() % 3),
            "both": Chunks(sequences(), window=3),
        }[kind]
        ends = []
        for model in (tagger(), Composition()):
            recurra.manual_seed(1)
            optimizer = recurra.Adam(model.parameters(), lr=0.01)
            history = fit(model, data, recurra.cross_entropy, optimizer, epochs=2, validation=data)
            arrays = [p.data.tobytes() for p in model.parameters()]
            ends.append((arrays, history["loss"], history["validation_loss"]))
        assert ends[0] == ends[1]

    def test_a_class_for_each_row(self) -> None:
        model = ragged()
        batch = Batch(IDS, np.array([0, 2, 1, 2]), LENGTHS)
        found = evaluate(model, Given(batch), recurra.cross_entropy)["loss"]
        model.eval()
        wanted = recurra.cross_entropy(by_hand(model, IDS, LENGTHS), batch.targets).item()
        assert found == wanted

    def test_fewer_steps_than_the_inputs(self) -> None:
        recurra.manual_seed(0)
        model = Sequential(recurra.Embedding(V, E), recurra.Conv1d(E, 3, 2, stride=2))
        targets = IDS[:, ::2][:, :6] % 3
        batch = Batch(IDS, targets, LENGTHS)

        def loss(y: Any, batch: Batch) -> Tensor:
            steps = np.arange(6) < model.output_lengths(batch.lengths)[:, None]
            return recurra.cross_entropy(y, batch.targets, weights=steps)

        assert evaluate(model, Given(batch), loss)["loss"] > 0
        with pytest.raises(TypeError) as caught:
            evaluate(model, Given(batch), recurra.cross_entropy)
        assert str(caught.value) == (
            "fit: loss: expected a function of (outputs, batch) for targets at 6 steps and inputs "
            "of 13, got cross_entropy; the lengths of the outputs are "
            "model.output_lengths(batch.lengths)"
        )

    def test_what_is_no_number_is_found(self) -> None:
        class Bad(Module):
            def forward(self, x: Any, lengths: Any) -> Any:
                return x * np.nan

        model = Sequential(*tagger().layers[:2], Bad(), recurra.Linear(5, 3))
        with pytest.raises(FloatingPointError, match=r"layer 2 \(Bad\)"):
            fit(model, sequences(), recurra.cross_entropy, recurra.SGD(model.parameters(), 0.1))


def test_a_summary() -> None:
    summary = tagger().summary(IDS, lengths=LENGTHS)
    assert [row.output for row in summary.rows] == [
        (B, T, 3),
        (B, T, E),
        (B, T, 5),
        (B, T, 5),
        (B, T, 3),
    ]
    assert summary.kept_bytes == tagger().summary(IDS, lengths=LENGTHS, state=None).kept_bytes
