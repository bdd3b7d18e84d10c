"""`recurra.reference` against golden numbers, finite differences, and itself."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells import BIASES, VARIANTS, Variant, backward, draw, draw_incoming, forward, loss, step
from gradcheck import gradcheck
from recurra import reference
from stack import LAYER_CASES, assert_close, layer_case, run_stack

RAGGED = [2, 0, 3]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def rng_for(*words: object) -> np.random.Generator:
    return np.random.default_rng(list("/".join(map(str, words)).encode()))


@pytest.mark.parametrize(("path", "line"), LAYER_CASES, ids=[line for _, line in LAYER_CASES])
def test_golden(path: Path, line: str) -> None:
    case = layer_case(path, line)
    assert_close(run_stack(reference, case), case.expected, 1e-10)


@pytest.mark.parametrize(("path", "line"), LAYER_CASES, ids=[line for _, line in LAYER_CASES])
def test_golden_in_float32(path: Path, line: str) -> None:
    case = layer_case(path, line, np.float32)
    got = run_stack(reference, case)
    assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}
    assert_close(got, case.expected, 1e-4)


def test_every_golden_layer_case_is_there() -> None:
    kinds = [line.split()[1] for _, line in LAYER_CASES]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"RNN_tanh": 10, "RNN_relu": 10, "LSTM": 21, "GRU": 11, "GRU_before": 12}


@every_variant
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@both_directions
def test_gradients(variant: Variant, bias: str, lengths: list[int] | None, reverse: bool) -> None:
    rng = rng_for(variant, bias, lengths, reverse)
    options = {"lengths": lengths, "reverse": reverse}
    arguments = draw(variant, rng, bias=bias)
    output = forward(reference, variant, arguments, **options)
    incoming = draw_incoming(output, rng)
    grads = backward(reference, variant, output.saved, incoming)
    assert {name for name, value in grads.items() if value is not None} == arguments.keys()

    def run(**moved: np.ndarray) -> float:
        return loss(forward(reference, variant, moved, save=False, **options), incoming)

    gradcheck(run, arguments, {name: grads[name] for name in arguments})


@every_variant
def test_a_missing_state_is_zeros(variant: Variant) -> None:
    rng = rng_for(variant)
    arguments = draw(variant, rng)
    states = [name for name in ("h0", "c0") if name in arguments]
    zeros = arguments | {name: np.zeros_like(arguments[name]) for name in states}
    without = {name: value for name, value in arguments.items() if name not in states}
    a, b = (forward(reference, variant, each) for each in (zeros, without))
    incoming = draw_incoming(a, rng)
    assert_same(a._asdict(), b._asdict())
    grads = [backward(reference, variant, each.saved, incoming) for each in (a, b)]
    assert all(grads[1][name] is not None for name in states)
    assert_same(*grads)


@every_variant
def test_incoming_gradients_left_out_are_zeros(variant: Variant) -> None:
    rng = rng_for(variant)
    output = forward(reference, variant, draw(variant, rng), lengths=RAGGED)
    incoming = draw_incoming(output, rng)
    whole = backward(reference, variant, output.saved, incoming)
    parts = [
        backward(reference, variant, output.saved, {name: value})
        for name, value in incoming.items()
    ]
    assert_close({name: sum(part[name] for part in parts) for name in whole}, whole, 1e-13)
    assert all(not np.any(v) for v in backward(reference, variant, output.saved, {}).values())


@every_variant
@both_directions
def test_step_by_step_is_the_sequence(variant: Variant, reverse: bool) -> None:
    arguments = draw(variant, rng_for(variant), T=5)
    output = forward(reference, variant, arguments, reverse=reverse)
    y, states = np.zeros_like(output.y), [name for name in ("h0", "c0") if name in arguments]
    for t in reversed(range(5)) if reverse else range(5):
        state = step(reference, variant, arguments | {"x": arguments["x"][:, t]})
        arguments |= dict(zip(states, state, strict=True))
        y[:, t] = state[0]
    last = [output.h_n, output.c_n] if "c0" in states else [output.h_n]
    assert_close({"y": y}, {"y": output.y}, 1e-14)
    assert_close({k: arguments[k] for k in states}, dict(zip(states, last, strict=True)), 1e-14)


@every_variant
@both_directions
def test_a_row_ends_at_its_length(variant: Variant, reverse: bool) -> None:
    arguments = draw(variant, rng_for(variant))
    output = forward(reference, variant, arguments, lengths=RAGGED, reverse=reverse)
    for b, n in enumerate(RAGGED):
        row = {k: v[b : b + 1] if k in ("x", "h0", "c0") else v for k, v in arguments.items()}
        alone = forward(reference, variant, row | {"x": row["x"][:, :n]}, reverse=reverse)
        assert not output.y[b, n:].any()
        assert_close({"y": output.y[b : b + 1, :n]}, {"y": alone.y}, 1e-14)
        for name in {"h_n", "c_n"} & set(output._fields):
            got, want = getattr(output, name)[b : b + 1], getattr(alone, name)
            assert_close({name: got}, {name: want}, 1e-14)
    assert np.array_equal(output.h_n[1], arguments["h0"][1])


@every_variant
@both_directions
def test_padding_is_not_looked_at(variant: Variant, reverse: bool) -> None:
    rng = rng_for(variant)
    arguments, results = draw(variant, rng), []
    incoming: dict[str, np.ndarray] = {}
    behind = np.arange(3) >= np.array(RAGGED)[:, None]
    for content in (0.0, np.nan, np.inf):
        arguments["x"][behind] = content
        output = forward(reference, variant, arguments, lengths=RAGGED, reverse=reverse)
        incoming = incoming or draw_incoming(output, rng)
        incoming["dy"][behind] = content
        grads = backward(reference, variant, output.saved, incoming)
        assert not grads["x"][behind].any()
        results.append({**output._asdict(), **{f"d{k}": v for k, v in grads.items()}})
    assert_same(*results)


@every_variant
def test_saved_is_a_copy_and_can_be_used_again(variant: Variant) -> None:
    rng = rng_for(variant)
    arguments = draw(variant, rng)
    output = forward(reference, variant, arguments)
    incoming = draw_incoming(output, rng)
    before = backward(reference, variant, output.saved, incoming)
    kept = {name: value.copy() for name, value in before.items()}
    for value in (*arguments.values(), *before.values(), *output[:-1]):
        value[...] = np.nan
    assert_same(kept, backward(reference, variant, output.saved, incoming))
    assert forward(reference, variant, draw(variant, rng), save=False).saved is None


@every_variant
@pytest.mark.parametrize(("B", "T"), [(0, 3), (2, 0)])
def test_nothing_to_do(variant: Variant, B: int, T: int) -> None:
    rng = rng_for(variant)
    arguments = draw(variant, rng, B=B, T=T)
    output = forward(reference, variant, arguments)
    assert np.array_equal(output.h_n, arguments["h0"])
    incoming = draw_incoming(output, rng)
    grads = backward(reference, variant, output.saved, incoming)
    assert {k: v.shape for k, v in grads.items()} == {k: v.shape for k, v in arguments.items()}
    assert np.array_equal(grads["h0"], incoming["dh_n"])


W = {"x": np.zeros((2, 3, 5)), "w_ih": np.zeros((32, 5)), "w_hh": np.zeros((32, 8))}
ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"x": np.zeros((2, 5))}, r"x: expected shape \(B, T, I\), got \(2, 5\)"),
    ({"x": np.zeros((2, 3, 5), int)}, "x: expected dtype float32 or float64, got int64"),
    ({"w_ih": np.zeros((32, 4))}, r"w_ih: expected shape \(4\*H, I\) = \(32, 5\), got \(32, 4\)"),
    ({"w_hh": np.zeros((32, 7))}, r"w_hh: expected shape \(4\*H, H\) = \(32, 8\), got \(32, 7\)"),
    ({"w_hh": np.zeros((32, 8), "f4")}, "w_hh: expected dtype float64 as x has, got float32"),
    ({"b_ih": np.zeros(8)}, r"b_ih: expected shape \(4\*H,\) = \(32,\), got \(8,\)"),
    ({"h0": np.zeros((3, 8))}, r"h0: expected shape \(B, H\) = \(2, 8\), got \(3, 8\)"),
    ({"w_hr": np.zeros((8, 7))}, r"w_hr: expected shape \(P, H\) = \(8, 8\), got \(8, 7\)"),
    ({"lengths": [1, 4]}, "lengths: expected 2 integers from 0 to 3, got array"),
    ({"lengths": [1.0, 2.0]}, "lengths: expected 2 integers from 0 to 3, got array"),
]


@pytest.mark.parametrize(("change", "message"), ERRORS)
def test_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^lstm_forward: {message}"):
        reference.lstm_forward(**(W | change))


def test_errors_of_backward_and_options() -> None:
    saved = reference.lstm_forward(**W).saved
    with pytest.raises(ValueError, match=r"^lstm_backward: dy: expected shape \(B, T, H\) = "):
        reference.lstm_backward(saved, np.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match=r"^gru_backward: saved: expected that of gru_forward"):
        reference.gru_backward(saved)
    with pytest.raises(ValueError, match=r"^rnn_backward: saved: expected that of rnn_forward"):
        reference.rnn_backward(None)
    with pytest.raises(ValueError, match=r'^rnn_step: activation: expected "tanh" or "relu", got'):
        reference.rnn_step([[1.0]], [[1.0]], [[1.0]], activation="elu")


def assert_same(*results: dict[str, Any]) -> None:
    """Assert the same bits in every array, `saved` aside."""
    names = results[0].keys() - {"saved"}
    for name, result in itertools.product(names, results[1:]):
        assert np.array_equal(results[0][name], result[name], equal_nan=True), name
