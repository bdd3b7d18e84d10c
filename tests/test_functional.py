"""`recurra.functional` against golden numbers and `recurra.reference`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bits import ISAS, arrays, assert_same_bits, forced_isa
from cells import BIASES, VARIANTS, Variant, backward, draw, draw_incoming, forward, step
from recurra import functional, reference
from recurra.functional import pack
from stack import LAYER_CASES, assert_close, layer_case, run_stack

Arrays = dict[str, np.ndarray]

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
every_layer_case = pytest.mark.parametrize(
    ("path", "line"), LAYER_CASES, ids=[line for _, line in LAYER_CASES]
)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with forced_isa(request.param):
        yield request.param


def rng_for(*words: object) -> np.random.Generator:
    return np.random.default_rng(list("/".join(map(str, words)).encode()))


# --- numbers


@pytest.mark.usefixtures("isa")
@every_layer_case
@pytest.mark.parametrize("memory", ["keep", "low"])
def test_golden(path: Path, line: str, memory: str) -> None:
    case = layer_case(path, line)
    assert_close(run_stack(functional, case, memory=memory), case.expected, 1e-10)


@pytest.mark.usefixtures("isa")
@every_layer_case
def test_golden_in_float32(path: Path, line: str) -> None:
    case = layer_case(path, line, np.float32)
    got = run_stack(functional, case)
    assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}
    assert_close(got, case.expected, 1e-4)


def run(module: Any, variant: Variant, arguments: Arrays, seed: Any, **options: Any) -> Arrays:
    """Return outputs and gradients, the gradients' names with a d in front."""
    output = forward(module, variant, arguments, **options)
    incoming = draw_incoming(output, np.random.default_rng(seed))
    grads = backward(module, variant, output.saved, incoming)
    return arrays(output) | {f"d{name}": v for name, v in arrays(grads).items()}


def tame(arguments: Arrays) -> Arrays:
    """Shrink the weights, so that no gradient explodes and rounding stays rounding."""
    rows = len(arguments["w_ih"])
    return {k: v / np.sqrt(rows) if k.startswith("w_") else v for k, v in arguments.items()}


def drawn_options(rng: np.random.Generator, B: int, T: int) -> dict[str, Any]:
    ragged = [None, rng.integers(0, T + 1, B), np.sort(rng.integers(0, T + 1, B))]
    return {"lengths": ragged[rng.integers(3)], "reverse": bool(rng.integers(2))}


@every_variant
@pytest.mark.parametrize("seed", range(24))
def test_random_shapes(isa: str, variant: Variant, seed: int) -> None:
    rng = rng_for(variant, seed)
    B, T, I, H = (int(n) for n in rng.integers([1, 1, 1, 2], [15, 9, 40, 70]))
    arguments = tame(draw(variant, rng, B=B, T=T, I=I, H=H, bias=list(BIASES)[seed % 4]))
    if seed % 3 == 0:
        arguments.pop("h0")
    options = drawn_options(rng, B, T) | {"memory": ("keep", "low")[seed % 2]}
    got = run(functional, variant, arguments, seed, **options)
    assert_close(got, run(reference, variant, arguments, seed, **options), 1e-11)


BLOCK_BORDERS = {
    "sums of more than one block": (3, 2, 560, 530),
    "rows that would meet in one set of a cache": (3, 2, 512, 512),
    "more step rows than a chunk and a block": (13, 40, 5, 7),
    "more rows than a chunk": (101, 3, 4, 6),
    "more panels of input than are packed at once": (2, 3, 300, 3),
    "one of each": (1, 1, 1, 2),
    "units that fill panels": (12, 4, 16, 32),
}


@every_variant
@pytest.mark.parametrize("shape", BLOCK_BORDERS.values(), ids=BLOCK_BORDERS)
def test_shapes_at_the_borders_of_blocks(
    isa: str, variant: Variant, shape: tuple[int, int, int, int]
) -> None:
    rng = rng_for(variant, shape)
    B, T, I, H = shape
    arguments = tame(draw(variant, rng, B=B, T=T, I=I, H=H))
    options = {"lengths": rng.integers(0, T + 1, B)}
    got = run(functional, variant, arguments, 1, **options)
    assert_close(got, run(reference, variant, arguments, 1, **options), 1e-11)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before"])
def test_one_hidden_unit(isa: str, cell: str) -> None:
    variant = next(v for v in VARIANTS if v.name == cell)
    arguments = draw(variant, rng_for(cell), B=2, T=5, I=1, H=1)
    got = run(functional, variant, arguments, 1)
    assert_close(got, run(reference, variant, arguments, 1), 1e-11)


@every_variant
@pytest.mark.parametrize("bias", BIASES)
def test_step(isa: str, variant: Variant, bias: str) -> None:
    arguments = draw(variant, rng_for(variant, bias), B=5, I=7, H=11, bias=bias)
    arguments["x"] = arguments["x"][:, 0]
    got, expected = (step(module, variant, arguments) for module in (functional, reference))
    assert_close(dict(enumerate(got)), dict(enumerate(expected)), 1e-12)


# --- the same call in other words


def packed(variant: Variant, arguments: Arrays, **options: Any) -> Any:
    names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    cell = "lstm" if variant.projected else variant.name
    return pack(cell, **{k: v for k, v in arguments.items() if k in names}, **options)


@every_variant
def test_packed_weights_give_the_same_bits(variant: Variant) -> None:
    arguments = draw(variant, rng_for(variant), B=4, T=5, I=6, H=19)
    given = {k: v for k, v in arguments.items() if k in ("x", "h0", "c0")}
    options = {"lengths": [5, 0, 2, 5], "reverse": True}
    whole = forward(functional, variant, arguments, **options)
    weights = packed(variant, arguments, training=True)
    y, h_n, c_n, saved = weights.forward(**given, save=True, memory="low", **options)
    assert_same_bits(dict(zip(("y", "h_n", "c_n"), (y, h_n, c_n), strict=True)), whole)
    incoming = draw_incoming(whole, rng_for(variant))
    assert_same_bits(
        backward(functional, variant, saved, incoming),
        backward(functional, variant, whole.saved, incoming),
    )
    assert (c_n is None) == (variant.cell != "lstm")
    h, c = weights.step(**(given | {"x": given["x"][:, 0]}))
    state = step(functional, variant, arguments | {"x": given["x"][:, 0]})
    assert_same_bits(dict(enumerate((h, c))), dict(enumerate(state)))


@every_variant
def test_packed_weights_are_a_snapshot(variant: Variant) -> None:
    arguments = draw(variant, rng_for(variant))
    given = {k: v for k, v in arguments.items() if k in ("x", "h0", "c0")}
    weights = packed(variant, arguments)
    before = weights.forward(**given, save=False)
    for name in arguments.keys() - given.keys():
        arguments[name][...] = np.nan
    after = weights.forward(**given, save=False)
    assert_same_bits(dict(enumerate(after)), dict(enumerate(before)))


@every_variant
def test_save_changes_no_bit(variant: Variant) -> None:
    arguments = draw(variant, rng_for(variant), B=5, T=7, I=3, H=21)
    options = {"lengths": [7, 3, 0, 7, 1]}
    saved = forward(functional, variant, arguments, save=True, **options)
    unsaved = forward(functional, variant, arguments, save=False, **options)
    assert unsaved.saved is None
    assert_same_bits(unsaved, saved)


@every_variant
def test_absent_states_and_gradients_are_zeros(variant: Variant) -> None:
    arguments = draw(variant, rng_for(variant))
    states = {"h0", "c0"} & arguments.keys()
    zeros = arguments | {name: np.zeros_like(arguments[name]) for name in states}
    absent = {name: value for name, value in arguments.items() if name not in states}
    a, b = (forward(functional, variant, each) for each in (zeros, absent))
    assert_same_bits(a, b)
    incoming = draw_incoming(a, rng_for(variant))
    for name in incoming:
        others = {k: v for k, v in incoming.items() if k != name}
        with_zeros = {**others, name: np.zeros_like(incoming[name])}
        assert_same_bits(
            backward(functional, variant, a.saved, with_zeros),
            backward(functional, variant, b.saved, others),
        )
    nothing = backward(functional, variant, a.saved, {})
    assert nothing.keys() == arguments.keys()
    assert not any(gradient.any() for gradient in nothing.values())


@every_variant
def test_saved_is_a_copy_that_can_be_used_again(variant: Variant) -> None:
    rng = rng_for(variant)
    arguments = draw(variant, rng)
    lengths = np.array([3, 1, 2])
    output = forward(functional, variant, arguments, lengths=lengths)
    incoming = draw_incoming(output, rng)
    first = backward(functional, variant, output.saved, incoming)
    kept = {name: value.copy() for name, value in first.items()}
    for value in (*arguments.values(), *first.values(), *arrays(output).values()):
        value[...] = np.nan
    lengths[:] = 0
    assert_same_bits(backward(functional, variant, output.saved, incoming), kept)
    assert_same_bits(backward(functional, variant, output.saved, incoming), kept)


@every_variant
def test_without_input_gradient(variant: Variant) -> None:
    output = forward(functional, variant, draw(variant, rng_for(variant), I=9, H=17))
    incoming = draw_incoming(output, rng_for(variant))
    whole = backward(functional, variant, output.saved, incoming)
    without = backward(functional, variant, output.saved, incoming, input_gradient=False)
    assert whole.pop("x") is not None
    assert without.pop("x") is None
    assert_same_bits(without, whole)


@every_variant
def test_biases_that_were_not_given_have_no_gradient(variant: Variant) -> None:
    for bias, names in BIASES.items():
        output = forward(functional, variant, draw(variant, rng_for(variant), bias=bias))
        grads = backward(functional, variant, output.saved, {"dh_n": output.h_n})
        for name in ("b_ih", "b_hh"):
            assert (grads[name] is not None) == (name in names)
