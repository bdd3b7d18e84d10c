"""Every gradient of `recurra.functional` against finite differences, in float64."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from bits import ISAS, forced_isa
from cells import BIASES, VARIANTS, Variant, backward, draw, draw_incoming, forward, loss
from gradcheck import gradcheck
from recurra import functional

Arrays = dict[str, np.ndarray]

SIZES = {"B": 4, "T": 4, "I": 3, "H": 5, "bias": "both"}
RAGGED = [2, 0, 4, 3]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


class KinkError(Exception):
    """A step of the finite differences crossed the kink of relu: the slope is of no use."""


def check(
    variant: Variant,
    *,
    sizes: dict[str, Any] = SIZES,
    absent: tuple[str, ...] = (),
    memory: str = "keep",
    incoming: tuple[str, ...] = ("dy", "dh_n", "dc_n"),
    **options: Any,
) -> None:
    """Check the gradient of every argument but those `absent`."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        arguments = draw(variant, rng, **sizes)
        arguments = {name: value for name, value in arguments.items() if name not in absent}
        with suppress(KinkError):
            return compare(variant, arguments, incoming, rng, memory, options)
    raise AssertionError("a kink near every draw")


def compare(
    variant: Variant,
    arguments: Arrays,
    names: tuple[str, ...],
    rng: np.random.Generator,
    memory: str,
    options: dict[str, Any],
) -> None:
    output = forward(functional, variant, arguments, memory=memory, **options)
    incoming = {k: v for k, v in draw_incoming(output, rng).items() if k in names}
    grads = backward(functional, variant, output.saved, incoming)

    def run(**moved: np.ndarray) -> float:
        there = forward(functional, variant, moved, save=False, **options)
        if variant.name == "rnn_relu" and ((there.y > 0) != (output.y > 0)).any():
            raise KinkError
        return loss(there, incoming)

    gradcheck(run, arguments, {name: grads[name] for name in arguments})


@every_variant
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("memory", ["keep", "low"])
def test_options(
    variant: Variant, bias: str, lengths: list[int] | None, reverse: bool, memory: str
) -> None:
    sizes = SIZES | {"bias": bias}
    check(variant, sizes=sizes, lengths=lengths, reverse=reverse, memory=memory)


@every_variant
@pytest.mark.parametrize("absent", [("h0",), ("c0",), ("h0", "c0")], ids="+".join)
def test_without_initial_states(variant: Variant, absent: tuple[str, ...]) -> None:
    check(variant, absent=absent)


@every_variant
@pytest.mark.parametrize("name", ["dy", "dh_n", "dc_n"])
def test_each_incoming_gradient_alone(variant: Variant, name: str) -> None:
    check(variant, incoming=(name,), lengths=RAGGED)


@every_variant
@pytest.mark.parametrize("isa", ISAS)
def test_more_units_than_lanes(variant: Variant, isa: str) -> None:
    with forced_isa(isa):
        check(variant, sizes={"B": 2, "T": 2, "I": 9, "H": 17, "bias": "b_ih"})


@every_variant
def test_a_stack_of_two_directions(variant: Variant) -> None:
    """The gradient of a layer's input is the incoming gradient of the layer below."""
    rng = np.random.default_rng(7)
    lower = [draw(variant, rng, **SIZES) for _ in range(2)]
    upper = draw(variant, rng, **SIZES | {"I": 2 * lower[0]["h0"].shape[1]})

    def run(x: np.ndarray) -> tuple[list[Any], Any]:
        below = [
            forward(functional, variant, arguments | {"x": x}, reverse=reverse)
            for arguments, reverse in zip(lower, (False, True), strict=True)
        ]
        y = np.concatenate([out.y for out in below], axis=2)
        return below, forward(functional, variant, upper | {"x": y}, lengths=RAGGED)

    x = lower[0]["x"]
    below, output = run(x)
    incoming = draw_incoming(output, rng)
    dy = backward(functional, variant, output.saved, incoming)["x"]
    dx = sum(
        backward(functional, variant, out.saved, {"dy": part})["x"]
        for out, part in zip(below, np.split(dy, 2, axis=2), strict=True)
    )
    gradcheck(lambda x: loss(run(x)[1], incoming), {"x": x}, {"x": dx})
