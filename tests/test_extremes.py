"""Nothing, far too much, and settings that make no sense."""

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from bits import arrays, assert_same_bits
from cells import VARIANTS, Variant, backward, draw, draw_incoming, forward, step
from recurra import _core, functional
from refusals import THREADS, refused
from steady import HANGS

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def python(code: str) -> list[str]:
    """Run a program in a process of its own and return the lines that it prints.

    A limit on its memory leaves the same room on every machine: each thread has a stack.
    """
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "RECURRA_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


# --- nothing


@every_variant
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("B", "T"), [(0, 3), (2, 0), (0, 0), (0, 2**40)])
def test_no_rows_or_no_steps(variant: Variant, reverse: bool, B: int, T: int) -> None:
    """States pass through, and gradients too; those of the weights are zero."""
    rng = np.random.default_rng(1)
    sizes = {"B": B, "T": T, "I": 5, "H": 7}
    arguments = draw(variant, rng, **sizes)
    output = forward(functional, variant, arguments, reverse=reverse, lengths=[T] * B)
    incoming = draw_incoming(output, rng)
    grads = backward(functional, variant, output.saved, incoming)
    assert output.y.shape == (B, T, arguments["h0"].shape[1])
    assert output.saved.nbytes == B * sum(s.shape[1] * 8 for s in states(arguments).values())
    last = {"h0": output.h_n, "c0": getattr(output, "c_n", None)}
    assert_same_bits(last, states(arguments))
    assert {k: v.shape for k, v in grads.items()} == {k: v.shape for k, v in arguments.items()}
    expected = {"h0": incoming["dh_n"], "c0": incoming.get("dc_n")}
    assert_same_bits(states(grads), expected)
    assert not any(v.any() for k, v in grads.items() if k not in ("h0", "c0"))


def states(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name in ("h0", "c0")}


@every_variant
def test_no_rows_in_a_step(variant: Variant) -> None:
    arguments = draw(variant, np.random.default_rng(1), B=0, I=5, H=7)
    state = step(functional, variant, arguments | {"x": np.zeros((0, 5))})
    assert [part.shape for part in state] == [v.shape for v in states(arguments).values()]


@every_variant
def test_only_lengths_of_zero(variant: Variant) -> None:
    arguments = draw(variant, np.random.default_rng(1))
    arguments["x"][:] = np.nan
    output = forward(functional, variant, arguments, lengths=[0, 0, 0])
    assert not output.y.any()
    incoming = draw_incoming(output, np.random.default_rng(2))
    incoming["dy"][:] = np.nan
    grads = backward(functional, variant, output.saved, incoming)
    assert_same_bits({"h0": output.h_n, "c0": getattr(output, "c_n", None)}, states(arguments))
    assert not any(v.any() for k, v in arrays(grads).items() if k not in ("h0", "c0"))


# --- far too much

# Every array is one number seen many times. A regression could fill the machine's memory or kill
# the process: it gets a process of its own, and a limit where there are limits.
LIMITED = """
import numpy as np
from recurra.functional import *
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
except (ImportError, ValueError, OSError):
    pass
def ones(*shape):
    return np.broadcast_to(np.float32(1), shape)
def lstm(B, T, I, H, P=None, **options):
    w_hr = None if P is None else ones(P, H)
    return lstm_forward(ones(B, T, I), ones(4 * H, I), ones(4 * H, P or H), w_hr=w_hr, **options)
def attempt(name, call):
    try:
        call()
    except MemoryError as error:
        print(name, error, sep=": ")
    assert lstm(1, 1, 1, 1).y.shape == (1, 1, 1)
"""
HUGE = {
    "steps": "lstm(1, 2**50, 5, 8)",
    "steps of short rows": "lstm(1, 2**50, 5, 8, lengths=[3])",
    "rows": "lstm(2**50, 1, 5, 8, save=False)",
    "rows without steps": "lstm(2**50, 0, 5, 8)",
    "inputs": "lstm(1, 1, 2**50, 8)",
    "units": "lstm(1, 1, 2**29, 2**29)",
    "projection": "lstm(1, 1, 5, 8, 2**50)",
    "rows of a step": "gru_step(ones(2**50, 1), ones(3, 1), ones(3, 1))",
    "packed rows": "pack('rnn_relu', ones(1, 1), ones(1, 1)).step(ones(2**50, 1))",
    "packed weights": "pack('gru', ones(3, 2**55), ones(3, 1))",
}
OVERFLOW = [
    ("y", "lstm(2**30, 2**30, 1, 64)"),
    ("y", "lstm(2**60, 0, 1, 64)"),
    ("h", "lstm_step(ones(2**60, 1), ones(256, 1), ones(256, 64))"),
]


def attempts(calls: Iterable[tuple[str, str]]) -> str:
    return "\n".join([LIMITED, *(f"attempt({name!r}, lambda: {call})" for name, call in calls)])


def test_more_than_any_memory() -> None:
    refusals = dict(line.split(": ", 1) for line in python(attempts(HUGE.items())))
    assert refusals.keys() == HUGE.keys()
    texts = "Unable to allocate ", "not enough memory for packed weights: "
    assert all(text.startswith(texts) for text in refusals.values())


def test_sizes_that_overflow() -> None:
    text = "{0}: not enough memory for {0}: its size does not fit in an address"
    assert python(attempts(OVERFLOW)) == [text.format(name) for name, _ in OVERFLOW]


# --- settings


def test_the_number_of_threads() -> None:
    for n in (0, -1, 4097, 2**70):
        refused(ValueError, f"set_num_threads: n: {THREADS} {n}", _core.set_num_threads, n=n)


def test_an_unknown_instruction_set() -> None:
    names = ", ".join(_core.available_isas())
    before = _core.isa()
    text = f'instruction set: expected one of {names}, got "abacus"'
    refused(ValueError, text, _core.force_isa, name="abacus")
    assert _core.isa() == before


ENVIRONMENT = """
import os
from recurra.functional import rnn_forward
for value in {values}:
    os.environ[{name!r}] = os.fsdecode(value) if os.name == "posix" else value.decode("latin-1")
    try:
        rnn_forward([[[1.0]]], [[1.0]], [[1.0]])
        print("accepted")
    except ValueError as error:
        print(error)
"""


def environment(name: str, *values: bytes) -> list[str]:
    """Return what a call says with each value of a variable, the empty one last."""
    *lines, empty = python(ENVIRONMENT.format(name=name, values=[*values, b""]))
    assert empty == "accepted"
    return lines


def test_an_unknown_instruction_set_in_the_environment() -> None:
    names = ", ".join(_core.available_isas())
    *lines, no_text = environment("RECURRA_ISA", b"bogus", b"avx2 ", b"0", b"\xff")
    expected = f"RECURRA_ISA: expected one of {names}, got "
    assert lines == [expected + value for value in ('"bogus"', '"avx2 "', '"0"')]
    assert no_text.startswith(expected)


def test_a_bad_number_of_threads_in_the_environment() -> None:
    values = b"bogus", b"0", b"-1", b"1.5", b"4097", b"99999999999999999999", b"\xff"
    *lines, no_text = environment("RECURRA_NUM_THREADS", *values)
    expected = f"RECURRA_NUM_THREADS: value: {THREADS} "
    assert lines == [f'{expected}"{value.decode()}"' for value in values[:-1]]
    assert no_text.startswith(expected)
