"""RNN, LSTM and GRU: reference numbers, gradients, steps, packing, errors."""

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from gradcheck import gradcheck
from recurra import Tensor
from stack import LAYER_CASES, LayerCase, assert_close, layer_case
from tensor_gradients import array

LAYERS: dict[str, Any] = {
    "RNN_tanh": recurra.RNN,
    "RNN_relu": lambda *a, **k: recurra.RNN(*a, nonlinearity="relu", **k),
    "LSTM": recurra.LSTM,
    "LSTM_projected": lambda *a, **k: recurra.LSTM(*a, proj_size=2, **k),
    "GRU": recurra.GRU,
    "GRU_before": lambda *a, **k: recurra.GRU(*a, reset_after=False, **k),
}


def raises(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match="^" + re.escape(text) + "$")


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def bits(*arrays: Any) -> list[bytes]:
    return [np.asarray(getattr(a, "data", a)).tobytes() for a in arrays]


# ---- reference numbers


def build(case: LayerCase) -> Any:
    """The layer that a case was made with, with its parameters loaded as they are named."""
    weights = {k.removeprefix("param/"): v for k, v in case.arrays.items() if "param/" in k}
    hidden = weights["weight_ih_l0"].shape[0] // {"R": 1, "L": 4, "G": 3}[case.kind[0]]
    options: dict[str, Any] = {"proj_size": 3} if "weight_hr_l0" in weights else {}
    layer = LAYERS[case.kind](
        case.arrays["x"].shape[-1],
        hidden,
        case.num_layers,
        bias="bias_ih_l0" in weights,
        bidirectional=case.directions == 2,
        dtype=case.arrays["x"].dtype,
        **options,
    )
    assert layer.load_state_dict(weights) == ([], [])
    return layer


def run(case: LayerCase) -> dict[str, np.ndarray]:
    """All that a case expects, by its keys."""
    a, layer = case.arrays, build(case)
    names = ("h0", "c0") if case.kind == "LSTM" else ("h0",)
    x, *state = (Tensor(a[name], requires_grad=True) for name in ("x", *names))
    before: Any = tuple(state) if len(state) == 2 else state[0]
    y, after = layer(x, before, a["lengths"] if case.ragged else None)
    results = (y, *parts(after))
    loss = sum((r * a[g]).sum() for r, g in zip(results, ("gy", "gh", "gc"), strict=False))
    loss.backward()
    found = dict(zip(("y", "h_n", "c_n"), (r.data for r in results), strict=False))
    found |= {f"d{name}": t.grad for name, t in zip(("x", *names), (x, *state), strict=True)}
    return found | {f"grad/{name}": p.grad for name, p in layer.named_parameters()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize(("path", "line"), LAYER_CASES, ids=lambda v: str(v).split("/")[-1])
def test_golden(path: Path, line: str, dtype: Any, tolerance: float) -> None:
    case = layer_case(path, line, dtype)
    assert_close(run(case), case.expected, tolerance)


def test_the_cases_are_all_there() -> None:
    assert len(LAYER_CASES) >= 52


# ---- gradients


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2, "bias": False}])
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients(kind: str, options: dict[str, Any]) -> None:
    """Of x, state and every parameter at once, with lengths that include 0."""
    recurra.manual_seed(4)
    layer = LAYERS[kind](3, 4, dtype=np.float64, **options)
    lengths = [2, 0, 4]
    y, after = layer(array(3, 4, 3), None, lengths)
    state = {f"state {i}": array(*s.shape, seed=i) for i, s in enumerate(parts(after))}
    weights = [array(*r.shape, seed=7) for r in (y, *parts(after))]
    arguments = {"x": array(3, 4, 3), **state, **layer.state_dict()}

    def total(tensors: dict[str, Tensor]) -> Tensor:
        before = tuple(tensors[name] for name in state)
        y, after = layer(tensors["x"], before if len(before) == 2 else before[0], lengths)
        return sum((r * w).sum() for r, w in zip((y, *parts(after)), weights, strict=True))

    def loss(**moved: np.ndarray) -> float:
        layer.load_state_dict({n: moved[n] for n in layer.state_dict()})
        with recurra.no_grad():
            return total({n: Tensor(moved[n]) for n in ("x", *state)}).item()

    inputs = {n: Tensor(arguments[n], requires_grad=True) for n in ("x", *state)}
    total(inputs).backward()
    leaves = inputs | dict(layer.named_parameters())
    gradcheck(loss, arguments, {name: leaves[name].grad for name in arguments})


@pytest.mark.parametrize("kind", LAYERS)
def test_low_memory_changes_no_bit(kind: str) -> None:
    x, grads = array(3, 9, 3), []
    for memory in ("keep", "low"):
        recurra.manual_seed(4)
        layer = LAYERS[kind](3, 4, 2, bidirectional=True, dtype=np.float64, memory=memory)
        y, after = layer(x, lengths=[9, 0, 4])
        sum((r * r).sum() for r in (y, *parts(after))).backward()
        with recurra.no_grad():
            assert bits(layer(x, lengths=[9, 0, 4])[0]) == bits(y)
        grads.append(bits(*(p.grad for p in layer.parameters())))
    assert grads[0] == grads[1]


def test_an_unused_output_has_no_say() -> None:
    layer, x = recurra.LSTM(2, 3, dtype=np.float64), Tensor(array(1, 2, 2), requires_grad=True)
    _, (_, c) = layer(x)
    c.sum().backward()
    assert x.grad is not None
    assert x.grad.any()


def test_frozen_parameters_get_no_gradient() -> None:
    layer = recurra.GRU(2, 3)
    layer.weight_hh_l0.requires_grad = False
    layer(np.ones((1, 2, 2), np.float32))[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None


def test_a_carried_state_needs_detach() -> None:
    layer, x = recurra.GRU(2, 3), np.ones((1, 2, 2), np.float32)
    y, h = layer(x)
    y.sum().backward()
    y, _ = layer(x, h)
    with pytest.raises(RuntimeError, match=r"detach\(\) what is carried over"):
        y.sum().backward()
    layer.zero_grad()
    y, _ = layer(x, h.detach())
    y.sum().backward()


# ---- the call


@pytest.mark.parametrize("kind", LAYERS)
def test_nothing_is_saved_without_gradients(kind: str) -> None:
    layer, x = LAYERS[kind](2, 3, 2, bidirectional=True), np.ones((2, 3, 2), np.float32)
    with_graph, _ = layer(x)
    with recurra.no_grad():
        y, state = layer(x)
    assert with_graph.requires_grad
    assert not any(t.requires_grad for t in (y, *parts(state)))
    assert bits(y) == bits(with_graph)


@pytest.mark.parametrize("kind", LAYERS)
def test_names_and_shapes(kind: str) -> None:
    layer = LAYERS[kind](5, 4, 2, bidirectional=True)
    gates, output = {"R": 1, "L": 4, "G": 3}[kind[0]], 2 if kind == "LSTM_projected" else 4
    shapes: dict[str, tuple[int, ...]] = {}
    for k in range(2):
        for tail in (f"_l{k}", f"_l{k}_reverse"):
            shapes["weight_ih" + tail] = (gates * 4, 2 * output if k else 5)
            shapes["weight_hh" + tail] = (gates * 4, output)
            shapes["bias_ih" + tail] = shapes["bias_hh" + tail] = (gates * 4,)
            if kind == "LSTM_projected":
                shapes["weight_hr" + tail] = (2, 4)
    found = {name: p.shape for name, p in layer.named_parameters()}
    assert list(found.items()) == list(shapes.items())


def test_initial_values_are_within_the_bound() -> None:
    recurra.manual_seed(1)
    for parameter in recurra.LSTM(3, 100).parameters():
        assert 0.098 < abs(parameter.data).max() <= 0.1


def test_no_state_is_zeros() -> None:
    layer, x = recurra.LSTM(2, 3), np.ones((2, 4, 2), np.float32)
    zeros = np.zeros((1, 2, 3), np.float32)
    assert bits(layer(x)[0]) == bits(layer(x, (zeros, zeros))[0])


def test_padding_does_not_matter() -> None:
    layer, x = recurra.GRU(2, 3, 2, bidirectional=True), array(2, 5, 2).astype(np.float32)
    padded = x.copy()
    padded[0, 2:] = np.nan
    y, h = layer(padded, lengths=[2, 5])
    alone, h_alone = layer(x[:1, :2])
    assert not y.data[0, 2:].any()
    assert bits(y.data[0, :2], h.data[:, 0]) == bits(alone, h_alone)


def test_dropout_acts_between_layers_while_training() -> None:
    recurra.manual_seed(5)
    layer, x = recurra.LSTM(2, 64, 2, dropout=0.5), np.ones((2, 4, 2), np.float32)
    assert bits(layer(x)[0]) != bits(layer(x)[0])
    assert layer(x)[0].data.all()
    plain = recurra.LSTM(2, 64, 2)
    plain.load_state_dict(layer.state_dict())
    assert bits(layer.eval()(x)[0]) == bits(plain(x)[0])


# ---- steps and packed weights


def small(kind: str, **options: Any) -> tuple[Any, np.ndarray]:
    recurra.manual_seed(6)
    return LAYERS[kind](3, 4, **options), array(2, 5, 3).astype(np.float32)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_step_by_step_is_the_whole_sequence(kind: str, num_layers: int, packed: bool) -> None:
    layer, x = small(kind, num_layers=num_layers)
    whole, final = layer(x)
    runner, state = layer.packed() if packed else layer, None
    for t in range(x.shape[1]):
        y, state = runner.step(x[:, t], state)
        assert type(y) is np.ndarray
        assert bits(y) == bits(np.ascontiguousarray(whole.data[:, t]))
    assert bits(*parts(state)) == bits(*parts(final))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize("kind", LAYERS)
def test_packed_is_the_layer(kind: str, options: dict[str, Any]) -> None:
    layer, x = small(kind, **options)
    _, before = layer(x)
    y, state = layer(x, before, [3, 0])
    before = tuple(p.detach() for p in parts(before))
    packed, state_packed = layer.packed()(x, before if len(before) == 2 else before[0], [3, 0])
    assert type(packed) is np.ndarray
    assert bits(packed, *parts(state_packed)) == bits(y, *parts(state))


def test_packed_is_a_snapshot() -> None:
    layer, x = small("GRU")
    packed = layer.packed()
    before = packed(x)[0]
    layer.weight_ih_l0.data[...] = 0
    assert bits(packed(x)[0]) == bits(before)
    assert bits(layer.packed()(x)[0]) != bits(before)


def test_packed_serves_many_threads() -> None:
    layer, x = small("LSTM", num_layers=2)
    packed, found = layer.packed(), []
    threads = [threading.Thread(target=lambda: found.append(bits(packed(x)[0]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bits(packed(x)[0])] * 4


def test_steps_take_the_state_of_a_call() -> None:
    layer, x = small("LSTM")
    with recurra.no_grad():
        _, state = layer(x[:, :3])
    y, _ = layer.step(x[:, 3], state)
    assert bits(y) == bits(np.ascontiguousarray(layer(x)[0].data[:, 3]))


# ---- errors


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: recurra.LSTM(0, 4), "LSTM: input_size: expected an int >= 1, got 0"),
        (lambda: recurra.GRU(3, -1), "GRU: hidden_size: expected an int >= 1, got -1"),
        (lambda: recurra.RNN(3, 4, 0), "RNN: num_layers: expected an int >= 1, got 0"),
        (
            lambda: recurra.RNN(3, 4, nonlinearity="sin"),
            "RNN: nonlinearity: expected 'tanh' or 'relu', got 'sin'",
        ),
        (
            lambda: recurra.GRU(3, 4, memory="less"),
            "GRU: memory: expected 'keep' or 'low', got 'less'",
        ),
        (
            lambda: recurra.LSTM(3, 4, 2, dropout=1),
            "LSTM: dropout: expected 0 <= dropout < 1, got 1",
        ),
        (
            lambda: recurra.LSTM(3, 4, dropout=0.5),
            "LSTM: dropout: expected 0 with num_layers=1, got 0.5; it acts between layers",
        ),
        (
            lambda: recurra.LSTM(3, 4, proj_size=4),
            "LSTM: proj_size: expected less than hidden_size = 4, got 4",
        ),
        (
            lambda: recurra.GRU(3, 4, batch_first=False),
            "GRU: batch_first: expected True, got False; x is (B, T, I)",
        ),
    ],
)
def test_bad_arguments(make: Any, text: str) -> None:
    with raises(ValueError, text):
        make()


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


H, C = zeros(2, 2, 4), zeros(2, 2, 4)


@pytest.mark.parametrize(
    ("layer", "arguments", "kind", "text"),
    [
        ("GRU", (zeros(2, 3),), ValueError, "x: expected shape (B, T, I = 3), got (2, 3)"),
        ("GRU", (zeros(2, 5, 4),), ValueError, "x: expected shape (B, T, I = 3), got (2, 5, 4)"),
        ("GRU", (array(2, 5, 3),), TypeError, "x: expected float32, got float64"),
        (
            "GRU",
            (zeros(2, 5, 3), zeros(1, 2, 4)),
            ValueError,
            "state h: expected shape (L*D, B, H) = (2, 2, 4), got (1, 2, 4)",
        ),
        (
            "GRU",
            (zeros(2, 5, 3), array(2, 2, 4)),
            TypeError,
            "state h: expected float32, got float64",
        ),
        ("LSTM", (zeros(2, 5, 3), H), TypeError, "state: expected (h, c), got ndarray"),
        (
            "LSTM",
            (zeros(2, 5, 3), (H,)),
            TypeError,
            "state: expected (h, c), got tuple of length 1",
        ),
        (
            "LSTM",
            (zeros(2, 5, 3), (H, zeros(2, 3, 4))),
            ValueError,
            "state c: expected shape (L*D, B, H) = (2, 2, 4), got (2, 3, 4)",
        ),
        (
            "LSTM_projected",
            (zeros(2, 5, 3), (H, C)),
            ValueError,
            "state h: expected shape (L*D, B, P) = (2, 2, 2), got (2, 2, 4)",
        ),
    ],
)
def test_bad_inputs(layer: str, arguments: Any, kind: type[Exception], text: str) -> None:
    stack = LAYERS[layer](3, 4, 2)
    for call in (stack, stack.packed()):
        with raises(kind, f"{layer.split('_', maxsplit=1)[0]}: {text}"):
            call(*arguments)


@pytest.mark.parametrize("lengths", [[1], [1, 6], [1, -1], [1.0, 2.0], [[1, 2]]])
def test_bad_lengths(lengths: Any) -> None:
    layer = recurra.LSTM(3, 4)
    for call in (layer, layer.packed()):
        with pytest.raises((ValueError, TypeError), match="lengths: expected"):
            call(zeros(2, 5, 3), None, lengths)


def test_steps_refuse_what_they_cannot_do() -> None:
    both = recurra.GRU(3, 4, bidirectional=True)
    text = (
        "GRU.step: layer: expected one direction, got a bidirectional layer, whose reverse half "
        "needs the whole sequence"
    )
    for layer in (both, both.packed()):
        with raises(ValueError, text):
            layer.step(zeros(2, 3))
    layer = recurra.GRU(3, 4)
    with raises(ValueError, "GRU: x: expected shape (B, I = 3), got (2, 5, 3)"):
        layer.step(zeros(2, 5, 3))
    _, h = layer(zeros(2, 5, 3))
    text = (
        "GRU: state h: expected a value without gradient, got a tensor that requires grad; "
        "make it under no_grad() or detach() it"
    )
    with raises(TypeError, text):
        layer.step(zeros(2, 3), h)
    wet = recurra.GRU(3, 4, 2, dropout=0.5)
    text = (
        "GRU.step: layer: expected one without dropout, got one in training with dropout=0.5; "
        "call eval() first"
    )
    with raises(RuntimeError, text):
        wet.step(zeros(2, 3))
    wet.eval().step(zeros(2, 3))


def test_repr() -> None:
    assert repr(recurra.RNN(3, 4, nonlinearity="relu", bias=False)) == (
        "RNN(3, 4, nonlinearity=relu, bias=False)"
    )
    layer = recurra.LSTM(3, 4, 2, dropout=0.5, bidirectional=True, proj_size=2, dtype=np.float64)
    assert repr(layer) == (
        "LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=True, proj_size=2, dtype=float64)"
    )
    assert repr(recurra.GRU(3, 4, memory="low")) == "GRU(3, 4, memory=low)"
    assert repr(recurra.GRU(3, 4, reset_after=False).packed()) == "PackedLayer(GRU, 1 cells)"
