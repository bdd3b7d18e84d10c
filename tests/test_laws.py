"""The laws about bits: what may never change a result, not even in its last place.

Rows, steps, chunks, padding, threads and instruction sets. Everything is compared bit for bit.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits import ISAS, arrays, assert_same_bits, bits, forced_isa
from cells import VARIANTS, Variant, backward, draw, draw_incoming, forward, step
from recurra import functional
from recurra.functional import pack

Arrays = dict[str, np.ndarray]

# The same examples on every run and every machine.
examples = settings(derandomize=True, deadline=None, max_examples=200)
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)

GARBAGE = (np.nan, np.inf, -np.inf, 1e30, -1e-40)
BY_ROW = ("x", "h0", "c0", "dy", "dh_n", "dc_n")
RESULTS_BY_ROW = ("y", "h_n", "c_n", "dx", "dh0", "dc0")
WEIGHTS = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")


@dataclass(frozen=True)
class Case:
    """A call forward and backward."""

    variant: Variant
    arguments: Arrays
    incoming: Arrays
    lengths: np.ndarray
    reverse: bool

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(name for name in ("h0", "c0") if name in self.arguments)

    def run(self, n_threads: int | None = None, memory: str = "keep") -> Arrays:
        """Return outputs and gradients, the gradients' names with a d in front."""
        options = {"lengths": self.lengths, "reverse": self.reverse, "n_threads": n_threads}
        output = forward(functional, self.variant, self.arguments, memory=memory, **options)
        grads = backward(functional, self.variant, output.saved, self.incoming, n_threads=n_threads)
        return arrays(output) | {f"d{name}": v for name, v in arrays(grads).items()}

    def rows(self, index: Any) -> "Case":
        """Return the case with these rows of the batch only, in this order."""

        def pick(named: Arrays) -> Arrays:
            return {k: v[index] if k in BY_ROW else v for k, v in named.items()}

        return replace(
            self,
            arguments=pick(self.arguments),
            incoming=pick(self.incoming),
            lengths=self.lengths[index],
        )


def make(
    variant: Variant, seed: int, B: int, T: int, I: int, H: int, reverse: bool, dtype: Any
) -> Case:
    rng = np.random.default_rng(seed)
    bias = ("no_bias", "b_ih", "b_hh", "both")[seed % 4]
    arguments = draw(variant, rng, B=B, T=T, I=I, H=H, bias=bias, dtype=dtype)
    for name in {"w_ih", "w_hh", "w_hr"} & arguments.keys():
        arguments[name] /= dtype(np.sqrt(H))
    output = forward(functional, variant, arguments, save=False)
    lengths = rng.integers(0, T + 1, B) if seed % 3 else np.full(B, T)
    return Case(variant, arguments, draw_incoming(output, rng), lengths, reverse)


cases = st.builds(
    make,
    st.sampled_from(VARIANTS),
    seed=st.integers(0, 2**32 - 1),
    B=st.integers(1, 15),
    T=st.integers(1, 9),
    I=st.integers(1, 20),
    H=st.integers(2, 40),
    reverse=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)


def of_rows(results: Arrays, index: Any) -> Arrays:
    return {name: results[name][index] for name in RESULTS_BY_ROW if name in results}


# --- law 1: rows


@examples
@given(cases, st.data())
def test_a_row_alone_is_the_row_in_a_batch(case: Case, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(case.lengths) - 1))
    alone = case.rows([row]).run()
    assert_same_bits(of_rows(alone, [0]), of_rows(case.run(), [row]))


@examples
@given(cases, st.data())
def test_the_place_in_the_batch_does_not_matter(case: Case, data: st.DataObject) -> None:
    rows = range(len(case.lengths))
    index = data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=30))
    got = case.rows(index).run()
    assert_same_bits(of_rows(got, slice(None)), of_rows(case.run(), index))


@examples
@given(cases, st.data())
def test_neighbours_do_not_matter(case: Case, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(case.lengths) - 1))
    expected = of_rows(case.run(), [row])
    others = np.arange(len(case.lengths)) != row
    for name, array in (case.arguments | case.incoming).items():
        if name in BY_ROW:
            array[others] = data.draw(st.sampled_from(GARBAGE[:4]))
    assert_same_bits(of_rows(case.run(), [row]), expected)


# --- law 1: steps and chunks


@examples
@given(cases)
def test_step_by_step_is_the_sequence(case: Case) -> None:
    whole = case.run()
    y, state = np.zeros_like(whole["y"]), {name: case.arguments[name] for name in case.states}
    weights = {k: v for k, v in case.arguments.items() if k in WEIGHTS}
    cell = "lstm" if case.variant.projected else case.variant.name
    packed = pack(cell, **weights)
    T = y.shape[1]
    for t in reversed(range(T)) if case.reverse else range(T):
        x = case.arguments["x"][:, t]
        new = step(functional, case.variant, {"x": x} | state | weights)
        from_packed = packed.step(x, *state.values())
        assert_same_bits(dict(enumerate(from_packed)), dict(enumerate(new)))
        valid = (t < case.lengths)[:, None]
        y[:, t] = np.where(valid, new[0], 0)
        state = {
            name: np.where(valid, after, before)
            for (name, before), after in zip(state.items(), new, strict=True)
        }
    last = {name: whole[name] for name in ("h_n", "c_n") if name in whole}
    assert_same_bits({"y": y} | dict(zip(last, state.values(), strict=True)), whole_of(whole))


def whole_of(results: Arrays) -> Arrays:
    return {name: results[name] for name in ("y", "h_n", "c_n") if name in results}


def chunks(case: Case, cuts: list[int]) -> list[slice]:
    """Return the chunks of time in the order in which they run."""
    T = case.arguments["x"].shape[1]
    spans = [slice(a, b) for a, b in pairwise(sorted({0, T, *cuts}))]
    return spans[::-1] if case.reverse else spans


@examples
@given(cases, st.lists(st.integers(1, 8), max_size=4))
def test_chunks_are_the_sequence(case: Case, cuts: list[int]) -> None:
    """Values flow on through h_n and c_n, and gradients back through dh0 and dc0."""
    whole, T = case.run(), case.arguments["x"].shape[1]
    spans = chunks(case, [cut for cut in cuts if cut < T])
    arguments, outputs = dict(case.arguments), []
    for span in spans:
        lengths = np.clip(case.lengths - span.start, 0, span.stop - span.start)
        arguments["x"] = case.arguments["x"][:, span]
        outputs.append(
            forward(functional, case.variant, arguments, lengths=lengths, reverse=case.reverse)
        )
        states = [outputs[-1].h_n, getattr(outputs[-1], "c_n", None)]
        arguments.update(zip(case.states, states, strict=False))
    got = {name: arguments[start] for name, start in zip(("h_n", "c_n"), case.states, strict=False)}
    incoming, dx = dict(case.incoming), {}
    for span, output in zip(spans[::-1], outputs[::-1], strict=True):
        incoming["dy"] = case.incoming["dy"][:, span]
        grads = backward(functional, case.variant, output.saved, incoming)
        dx[span.start] = grads["x"]
        incoming.update(dh_n=grads["h0"], **({"dc_n": grads["c0"]} if "c0" in grads else {}))
    ordered = sorted(zip(spans, outputs, strict=True), key=lambda pair: pair[0].start)
    got["y"] = np.concatenate([output.y for _, output in ordered], axis=1)
    got["dx"] = np.concatenate([dx[start] for start in sorted(dx)], axis=1)
    got |= {f"d{name}": incoming[f"d{name[0]}_n"] for name in case.states}
    assert_same_bits(got, of_rows(whole, slice(None)))


# --- law 1: padding


@examples
@given(cases, st.integers(1, 5), st.sampled_from(GARBAGE), st.sampled_from(GARBAGE))
def test_padding_does_not_matter(case: Case, extra: int, in_x: float, in_dy: float) -> None:
    """More steps behind the end, and rubbish in them, change no output and no gradient."""
    expected = case.run()
    T = case.arguments["x"].shape[1]
    x, dy = (
        np.pad(a, ((0, 0), (0, extra), (0, 0))) for a in (case.arguments["x"], case.incoming["dy"])
    )
    behind = np.arange(T + extra) >= case.lengths[:, None]
    x[behind], dy[behind] = in_x, in_dy
    got = replace(
        case, arguments=case.arguments | {"x": x}, incoming=case.incoming | {"dy": dy}
    ).run()
    for name in ("y", "dx"):
        assert not bits(got[name][behind]).any(), f"{name} is not +0 behind a row's end"
        got[name] = got[name][:, :T]
    assert_same_bits(got, expected)


# --- law 2: threads


@examples
@given(cases)
def test_threads_do_not_matter(case: Case) -> None:
    expected = case.run(n_threads=1)
    for n_threads in (2, 3, 5, None):
        assert_same_bits(case.run(n_threads), expected)


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [2, 33, 400])
def test_threads_do_not_matter_when_they_are_used(variant: Variant, dtype: Any, rows: int) -> None:
    """With enough work for a second thread to be woken: see `parallel.rs`."""
    B, T, I, H = rows, 800 // rows, 40, 50
    assert variant.gates * H * (I + H - 1) * B * T >= 2**21
    case = make(variant, 7, B, T, I, H, reverse=rows == 33, dtype=dtype)
    expected = case.run(n_threads=1)
    for n_threads in (2, 3, 5):
        assert_same_bits(case.run(n_threads), expected)
    assert_same_bits(of_rows(case.rows([1]).run(), [0]), of_rows(expected, [1]))


# --- what is kept


@examples
@given(cases, st.sampled_from(ISAS))
def test_memory_does_not_matter(case: Case, isa: str) -> None:
    expected = case.run()
    with forced_isa(isa):
        assert_same_bits(case.run(memory="low"), expected)


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("states", [True, False], ids=["given", "zero"])
def test_memory_and_threads_do_not_matter_in_long_sequences(
    variant: Variant, dtype: Any, states: bool
) -> None:
    """Rows of all lengths, also 0, whose steps backward takes in several spans: see `plan.rs`."""
    case = make(variant, 7, 90, 120, 8, 18, reverse=states, dtype=dtype)
    case.lengths[:4] = 0, 120, 0, 1
    assert case.lengths.sum() > 3 * 1024
    for name in case.states if not states else ():
        del case.arguments[name]
    expected = case.run(n_threads=1)
    for n_threads in (1, 2, 3, 4):
        assert_same_bits(case.run(n_threads), expected)
        assert_same_bits(case.run(n_threads, "low"), expected)
    assert_same_bits(of_rows(case.rows([1]).run(memory="low"), [0]), of_rows(expected, [1]))


# --- law 3: instruction sets


@examples
@given(cases)
def test_instruction_sets_do_not_matter(case: Case) -> None:
    with forced_isa("scalar"):
        expected = case.run()
    for isa in ISAS:
        with forced_isa(isa):
            assert_same_bits(case.run(), expected)


@every_variant
@pytest.mark.parametrize("isa", ISAS)
def test_weights_run_on_the_set_they_were_packed_for(variant: Variant, isa: str) -> None:
    case = make(variant, 4, 3, 2, 19, 37, reverse=False, dtype=np.float32)
    weights = {k: v for k, v in case.arguments.items() if k in WEIGHTS}
    given_now = {k: v for k, v in case.arguments.items() if k not in WEIGHTS}
    with forced_isa(isa):
        packed = pack("lstm" if variant.projected else variant.name, **weights, training=True)
    names = ("y", "h_n", "c_n", "saved")
    expected = forward(functional, variant, case.arguments)
    grads = backward(functional, variant, expected.saved, case.incoming)
    for other in ISAS:
        with forced_isa(other):
            got = dict(zip(names, packed.forward(**given_now, save=True), strict=True))
            assert_same_bits(got, expected)
            saved = got["saved"]
        assert_same_bits(backward(functional, variant, saved, case.incoming), grads)


# --- numbers


@examples
@given(cases, st.integers(-9, 9))
def test_gradients_are_linear(case: Case, power: int) -> None:
    """A power of two changes exponents alone, so it comes out of every sum exactly."""
    factor = case.arguments["x"].dtype.type(2.0**power)
    incoming = {name: value * factor for name, value in case.incoming.items()}
    expected, got = case.run(), replace(case, incoming=incoming).run()
    gradients = {name for name in expected if name.startswith("d")}
    assert_same_bits(
        {name: got[name] for name in gradients},
        {name: expected[name] * factor for name in gradients},
    )


@every_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", ISAS)
def test_vanishing_gradients_become_zero(variant: Variant, dtype: Any, isa: str) -> None:
    """Never subnormal, which is slow, and without touching the processor's flags."""
    case = make(variant, 3, 3, 1500, 4, 9, reverse=False, dtype=dtype)
    for name in WEIGHTS:
        if name in case.arguments:
            case.arguments[name] *= dtype(0.1)
    case.incoming["dy"][:] = 0
    with forced_isa(isa):
        got = case.run(n_threads=2)
    assert not got["dh0"].any()
    assert not got["dx"][:, 0].any()
    assert got["dx"][:, -1].all() or variant.name == "rnn_relu"
    smallest = np.finfo(dtype).tiny
    for name, array in got.items():
        assert not ((array != 0) & (np.abs(array) < smallest)).any(), name
    assert np.nextafter(dtype(0), dtype(1)) != 0
    assert smallest / dtype(2) != 0
