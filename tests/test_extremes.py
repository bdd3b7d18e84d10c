"""Nothing, far too much, and settings that make no sense."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bits import arrays, assert_same_bits
from cells import VARIANTS, Variant, backward, draw, draw_incoming, forward, step
from recurra import _core, functional
from refusals import THREADS, refused

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def python(code: str, **environment: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


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
from numpy import broadcast_to as seen
from recurra.functional import *
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
except (ImportError, ValueError, OSError):
    pass
def ones(*shape, dtype=np.float32):
    return seen(dtype(1), shape)
def of(B, T, I, H, P=None):
    w_hr = {} if P is None else {"w_hr": ones(P, H)}
    return {"x": ones(B, T, I), "w_ih": ones(4 * H, I), "w_hh": ones(4 * H, P or H)} | w_hr
def attempt(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except MemoryError as error:
        print(error)
small = of(1, 1, 1, 1)
"""
HUGE = {
    "steps": "attempt(lstm_forward, **of(1, 2**50, 5, 8))",
    "steps of short rows": "attempt(lstm_forward, **of(1, 2**50, 5, 8), lengths=[3])",
    "rows": "attempt(lstm_forward, **of(2**50, 1, 5, 8), save=False)",
    "rows without steps": "attempt(lstm_forward, **of(2**50, 0, 5, 8))",
    "inputs": "attempt(lstm_forward, **of(1, 1, 2**50, 8))",
    "units": "attempt(lstm_forward, **of(1, 1, 2**29, 2**29))",
    "projection": "attempt(lstm_forward, **of(1, 1, 5, 8, 2**50))",
    "rows of a step": "attempt(gru_step, ones(2**50, 1), ones(3, 1), ones(3, 1))",
    "packed rows": "attempt(pack('rnn_relu', ones(1, 1), ones(1, 1)).step, ones(2**50, 1))",
    "packed weights": "attempt(pack, 'gru', ones(3, 2**55), ones(3, 1))",
}
OVERFLOW = {
    "y": "attempt(lstm_forward, **of(2**30, 2**30, 1, 64))",
    "y without steps": "attempt(lstm_forward, **of(2**60, 0, 1, 64))",
    "h": "attempt(lstm_step, ones(2**60, 1), ones(256, 1), ones(256, 64))",
}


@pytest.mark.parametrize("call", HUGE.values(), ids=HUGE)
def test_more_than_any_memory(call: str) -> None:
    result = python(LIMITED + call + "\nprint(lstm_forward(**small).y.shape)")
    assert (result.returncode, result.stderr) == (0, "")
    refusal, shape = result.stdout.splitlines()
    assert refusal.startswith(("Unable to allocate ", "not enough memory for packed weights: "))
    assert shape == "(1, 1, 1)"


@pytest.mark.parametrize(("name", "call"), OVERFLOW.items(), ids=OVERFLOW)
def test_sizes_that_overflow(name: str, call: str) -> None:
    result = python(LIMITED + call)
    assert (result.returncode, result.stderr) == (0, "")
    name = name.removesuffix(" without steps")
    assert result.stdout == f"not enough memory for {name}: its size does not fit in an address\n"


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


CALL = """
from recurra.functional import rnn_forward
try:
    rnn_forward([[[1.0]]], [[1.0]], [[1.0]])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("value", ["bogus", "AVX2 ", "0"])
def test_an_unknown_instruction_set_in_the_environment(value: str) -> None:
    names = ", ".join(_core.available_isas())
    result = python(CALL, RECURRA_ISA=value)
    assert result.stdout == f'RECURRA_ISA: expected one of {names}, got "{value}"\n'


@pytest.mark.parametrize("value", ["bogus", "0", "-1", "1.5", "4097", "99999999999999999999"])
def test_a_bad_number_of_threads_in_the_environment(value: str) -> None:
    result = python(CALL, RECURRA_NUM_THREADS=value)
    assert result.stdout == f'RECURRA_NUM_THREADS: value: {THREADS} "{value}"\n'


@pytest.mark.parametrize("name", ["RECURRA_ISA", "RECURRA_NUM_THREADS"])
def test_an_environment_that_is_no_text(name: str) -> None:
    if os.name != "posix":
        pytest.skip("the environment holds text only")
    result = python(CALL, **{name: os.fsdecode(b"\xff")})
    assert result.stdout.startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["RECURRA_ISA", "RECURRA_NUM_THREADS"])
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    assert python(CALL, **{name: ""}).stdout == ""
