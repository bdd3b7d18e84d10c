"""What the layer functions refuse, and in which words."""

from typing import Any

import numpy as np
import pytest

from recurra import functional, reference
from refusals import (
    BOOL,
    GATES,
    THREADS,
    B,
    H,
    I,
    P,
    T,
    arguments,
    refused,
    single,
    spelled,
    wrong,
    zeros,
)  # fmt: skip

Change = dict[str, Any]
every_cell = pytest.mark.parametrize("cell", GATES)


def each(*cases: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("change", "text", "error"), cases)


class Ours:
    """What fails while it becomes an array."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise self.error("from the caller's own code")


# --- shapes


@every_cell
@each(
    wrong("x", zeros(T, I), "expected shape (B, T, I), got (3, 5)"),
    wrong("x", zeros(1, B, T, I), "expected shape (B, T, I), got (1, 2, 3, 5)"),
    wrong("x", 1.5, "expected shape (B, T, I), got ()"),
    wrong("x", zeros(B, T, 4), "expected shape (B, T, I) = (2, 3, 5), got (2, 3, 4)"),
    wrong("x", zeros(B, T, 0), "expected shape (B, T, I) = (2, 3, 5), got (2, 3, 0)"),
    wrong("w_ih", zeros(I), "expected shape (G*H, I), got (5,)"),
    wrong("w_ih", zeros(0, I), "expected shape (G*H, I) with H >= 1, got (0, 5)"),
    wrong("w_ih", zeros(24 * H, 0), "expected shape (G*H, I) with I >= 1, got (192, 0)"),
    wrong("w_hh", zeros(H), "expected shape (G*H, H), got (8,)"),
    wrong("w_hh", zeros(1, H), "expected shape (G*H, H) = (GH, 8), got (1, 8)"),
    wrong("b_ih", zeros(1, H), "expected shape (G*H,), got (1, 8)"),
    wrong("b_ih", zeros(7), "expected shape (G*H,) = (GH,), got (7,)"),
    wrong("b_hh", zeros(H, 1), "expected shape (G*H,), got (8, 1)"),
    wrong("b_hh", zeros(7), "expected shape (G*H,) = (GH,), got (7,)"),
    wrong("h0", zeros(H), "expected shape (B, H), got (8,)"),
    wrong("h0", zeros(3, H), "expected shape (B, H) = (2, 8), got (3, 8)"),
    wrong("h0", zeros(B, 7), "expected shape (B, H) = (2, 8), got (2, 7)"),
)
def test_shapes(cell: str, change: Change, text: str, error: type[Exception]) -> None:
    text = f"{cell}_forward: {spelled(text, GATES[cell])}"
    forward = getattr(functional, f"{cell}_forward")
    refused(error, text, forward, **arguments(GATES[cell]) | change)


@every_cell
@each(
    wrong("x", zeros(B, T, I), "expected shape (B, I), got (2, 3, 5)"),
    wrong("x", zeros(B, 4), "expected shape (B, I) = (2, 5), got (2, 4)"),
    wrong("w_hh", zeros(1, H), "expected shape (G*H, H) = (GH, 8), got (1, 8)"),
    wrong("b_ih", zeros(7), "expected shape (G*H,) = (GH,), got (7,)"),
    wrong("h0", zeros(3, H), "expected shape (B, H) = (2, 8), got (3, 8)"),
)
def test_shapes_of_a_step(cell: str, change: Change, text: str, error: type[Exception]) -> None:
    text = f"{cell}_step: {spelled(text, GATES[cell])}"
    given = arguments(GATES[cell]) | {"x": zeros(B, I)} | change
    refused(error, text, getattr(functional, f"{cell}_step"), **given)


@each(
    wrong("w_ih", zeros(31, I), "expected shape (4*H, I) with H >= 1, got (31, 5)"),
    wrong("w_hh", zeros(32, 7), "expected shape (4*H, H) = (32, 8), got (32, 7)"),
    wrong("c0", zeros(H), "expected shape (B, H), got (8,)"),
    wrong("c0", zeros(B, 7), "expected shape (B, H) = (2, 8), got (2, 7)"),
)
def test_shapes_of_the_lstm(change: Change, text: str, error: type[Exception]) -> None:
    refused(error, f"lstm_forward: {text}", functional.lstm_forward, **arguments(4) | change)


@each(
    wrong("w_hr", zeros(H), "expected shape (P, H), got (8,)"),
    wrong("w_hr", zeros(P, 7), "expected shape (P, H) = (6, 8), got (6, 7)"),
    wrong("w_hr", zeros(0, H), "expected shape (P, H) with P >= 1, got (0, 8)"),
    wrong("w_hh", zeros(32), "expected shape (4*H, P), got (32,)"),
    wrong("w_hh", zeros(32, H), "expected shape (4*H, P) = (32, 6), got (32, 8)"),
    wrong("h0", zeros(P), "expected shape (B, P), got (6,)"),
    wrong("h0", zeros(B, H), "expected shape (B, P) = (2, 6), got (2, 8)"),
    wrong("c0", zeros(B, P), "expected shape (B, H) = (2, 8), got (2, 6)"),
)
def test_shapes_of_the_projected_lstm(change: Change, text: str, error: type[Exception]) -> None:
    given = arguments(4, P) | {"w_hr": zeros(P, H)} | change
    refused(error, f"lstm_forward: {text}", functional.lstm_forward, **given)


# --- types

AS_X = "expected dtype float64 as x has, got float32"
OBJECT = "expected dtype float32 or float64, got object"


def of_dtype(name: str, got: str) -> Any:
    text = f"expected dtype float32 or float64, got {got}"
    return wrong("x", np.zeros((B, T, I), name), text, TypeError)


@every_cell
@each(
    *(wrong(name, single(24, H), AS_X, TypeError) for name in ("w_ih", "w_hh", "h0")),
    *(wrong(name, single(24), AS_X, TypeError) for name in ("b_ih", "b_hh")),
    wrong("w_ih", None, OBJECT, TypeError),
    wrong("x", {}, OBJECT, TypeError),
    wrong("x", [[[1.0], [2.0, 3.0]]], "expected an array, got list", TypeError),
    wrong("x", Ours(ValueError), "expected an array, got Ours", TypeError),
    wrong(
        "x",
        np.ma.masked_array(zeros(B, T, I)),
        "expected an array without a mask, got MaskedArray",
        TypeError,
    ),
    of_dtype("i4", "int32"),
    of_dtype("u8", "uint64"),
    of_dtype("?", "bool"),
    of_dtype("c16", "complex128"),
    of_dtype("f2", "float16"),
    of_dtype("O", "object"),
    of_dtype("U3", "<U3"),
)
def test_types(cell: str, change: Change, text: str, error: type[Exception]) -> None:
    forward = getattr(functional, f"{cell}_forward")
    refused(error, f"{cell}_forward: {text}", forward, **arguments(GATES[cell]) | change)


@each(
    wrong("c0", single(B, H), AS_X, TypeError),
    wrong("w_hr", single(P, H), AS_X, TypeError),
)
def test_types_of_the_lstm(change: Change, text: str, error: type[Exception]) -> None:
    refused(error, f"lstm_forward: {text}", functional.lstm_forward, **arguments(4) | change)


def test_lists_of_integers_are_integers() -> None:
    text = f"rnn_forward: x: expected dtype float32 or float64, got {np.dtype(int)}"
    given = {"x": [[[1, 2]]], "w_ih": [[1.0, 2.0]], "w_hh": [[1.0]]}
    refused(TypeError, text, functional.rnn_forward, **given)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_what_the_callers_own_code_raises_is_passed_on(error: type[Exception]) -> None:
    given = arguments(4) | {"x": Ours(error)}
    refused(error, "from the caller's own code", functional.lstm_forward, **given)


# --- lengths and options

RANGE = "expected integers from 0 to T = 3, got"
LARGEST = np.array([1, 2**64 - 1], np.uint64)


@each(
    wrong("lengths", [1, 4], f"{RANGE} 4 in row 1"),
    wrong("lengths", [-1, 2], f"{RANGE} -1 in row 0"),
    wrong("lengths", LARGEST, "expected integers of 63 bits, got 18446744073709551615"),
    wrong("lengths", [1], "expected shape (B,) = (2,), got (1,)"),
    wrong("lengths", [1, 2, 3], "expected shape (B,) = (2,), got (3,)"),
    wrong("lengths", [], "expected shape (B,) = (2,), got (0,)"),
    wrong("lengths", [[1, 2]], "expected shape (B,), got (1, 2)"),
    wrong("lengths", 3, "expected shape (B,), got ()"),
    wrong("lengths", [1.0, 2.0], "expected integers, got dtype float64", TypeError),
    wrong("lengths", np.zeros(0), "expected integers, got dtype float64", TypeError),
    wrong("lengths", [True, False], "expected integers, got dtype bool", TypeError),
    wrong("lengths", [2**70, 1], "expected integers, got dtype object", TypeError),
    wrong("lengths", ["1", "2"], "expected integers, got dtype <U1", TypeError),
)
def test_lengths(change: Change, text: str, error: type[Exception]) -> None:
    refused(error, f"lstm_forward: {text}", functional.lstm_forward, **arguments(4) | change)


@every_cell
@each(
    wrong("n_threads", 0, f"{THREADS} 0"),
    wrong("n_threads", -1, f"{THREADS} -1"),
    wrong("n_threads", 4097, f"{THREADS} 4097"),
    wrong("n_threads", 2**70, f"{THREADS} {2**70}"),
    wrong("n_threads", 1.5, f"{THREADS} float", TypeError),
    wrong("n_threads", "2", f"{THREADS} str", TypeError),
    wrong("reverse", 1, f"{BOOL} int", TypeError),
    wrong("reverse", "no", f"{BOOL} str", TypeError),
    wrong("save", None, f"{BOOL} NoneType", TypeError),
    wrong("memory", "none", "expected 'keep' or 'low', got 'none'"),
    wrong("memory", True, "expected 'keep' or 'low', got bool", TypeError),
)
def test_options(cell: str, change: Change, text: str, error: type[Exception]) -> None:
    forward = getattr(functional, f"{cell}_forward")
    refused(error, f"{cell}_forward: {text}", forward, **arguments(GATES[cell]) | change)


@every_cell
@pytest.mark.parametrize("module", [functional, reference])
def test_little_of_nothing_is_kept(cell: str, module: Any) -> None:
    text = f"{cell}_forward: memory: expected 'keep' with save=False, got 'low'"
    given = arguments(GATES[cell]) | {"save": False, "memory": "low"}
    refused(ValueError, text, getattr(module, f"{cell}_forward"), **given)


@pytest.mark.parametrize("activation", ["elu", "TANH", "", None, 1])
@pytest.mark.parametrize("function", ["rnn_forward", "rnn_step"])
def test_activation(function: str, activation: Any) -> None:
    text = f"{function}: activation: expected 'tanh' or 'relu', got {activation!r}"
    call = getattr(functional, function)
    refused(ValueError, text, call, **arguments(1), activation=activation)


@pytest.mark.parametrize("reset_after", ["no", 1, None])
@pytest.mark.parametrize("function", ["gru_forward", "gru_step"])
def test_reset_after(function: str, reset_after: Any) -> None:
    text = f"{function}: reset_after: {BOOL} {type(reset_after).__name__}"
    call = getattr(functional, function)
    refused(TypeError, text, call, **arguments(3), reset_after=reset_after)


# --- backward

AS_SAVED = "expected dtype float64 as saved has, got float32"


@every_cell
@each(
    wrong("dy", zeros(B, H), "expected shape (B, T, H), got (2, 8)"),
    wrong("dy", zeros(B, T, 7), "expected shape (B, T, H) = (2, 3, 8), got (2, 3, 7)"),
    wrong("dy", zeros(B, 4, H), "expected shape (B, T, H) = (2, 3, 8), got (2, 4, 8)"),
    wrong("dy", single(B, T, H), AS_SAVED, TypeError),
    wrong("dh_n", zeros(H), "expected shape (B, H), got (8,)"),
    wrong("dh_n", zeros(3, H), "expected shape (B, H) = (2, 8), got (3, 8)"),
    wrong("dh_n", single(B, H), AS_SAVED, TypeError),
    wrong("n_threads", 0, f"{THREADS} 0"),
    wrong("n_threads", -1, f"{THREADS} -1"),
    wrong("n_threads", 2.0, f"{THREADS} float", TypeError),
    wrong("input_gradient", 0, f"{BOOL} int", TypeError),
)
def test_backward(cell: str, change: Change, text: str, error: type[Exception]) -> None:
    saved = getattr(functional, f"{cell}_forward")(**arguments(GATES[cell])).saved
    backward = getattr(functional, f"{cell}_backward")
    refused(error, f"{cell}_backward: {text}", backward, saved=saved, **change)


@each(
    wrong("dy", zeros(B, T, H), "expected shape (B, T, P) = (2, 3, 6), got (2, 3, 8)"),
    wrong("dy", zeros(P), "expected shape (B, T, P), got (6,)"),
    wrong("dh_n", zeros(B, H), "expected shape (B, P) = (2, 6), got (2, 8)"),
    wrong("dh_n", zeros(P), "expected shape (B, P), got (6,)"),
    wrong("dc_n", zeros(B, P), "expected shape (B, H) = (2, 8), got (2, 6)"),
    wrong("dc_n", zeros(H), "expected shape (B, H), got (8,)"),
)
def test_backward_of_the_projected_lstm(change: Change, text: str, error: type[Exception]) -> None:
    saved = functional.lstm_forward(**arguments(4, P), w_hr=zeros(P, H)).saved
    refused(error, f"lstm_backward: {text}", functional.lstm_backward, saved=saved, **change)


@every_cell
@pytest.mark.parametrize(("saved", "got"), [(None, "None"), (object(), "object"), ("s", "str")])
def test_saved_by_nobody(cell: str, saved: Any, got: str) -> None:
    expected = f"expected what {cell}_forward(..., save=True) returned as saved, got {got}"
    call = getattr(functional, f"{cell}_backward")
    refused(TypeError, f"{cell}_backward: saved: {expected}", call, saved=saved)


@pytest.mark.parametrize(("cell", "other"), [("rnn", "gru"), ("gru", "lstm"), ("lstm", "rnn")])
def test_saved_by_another_cell(cell: str, other: str) -> None:
    saved = getattr(functional, f"{other}_forward")(**arguments(GATES[other])).saved
    expected = f"expected what {cell}_forward saved, got what {other}_forward saved"
    call = getattr(functional, f"{cell}_backward")
    refused(TypeError, f"{cell}_backward: saved: {expected}", call, saved=saved)


@every_cell
def test_inputs_that_changed_where_no_copy_was_kept(cell: str) -> None:
    """But for what was not read: past a row's length."""
    x, dy = np.ones((B, T, I)), np.ones((B, T, H))
    given = arguments(GATES[cell]) | {"lengths": [T - 1, T], "memory": "low"}
    saved = getattr(functional, f"{cell}_forward")(**given | {"x": x}).saved
    backward = getattr(functional, f"{cell}_backward")
    before = backward(saved, dy)
    assert before.dw_ih.any()
    x[0, T - 1] = np.nan
    assert np.array_equal(backward(saved, dy).dw_ih, before.dw_ih)
    x[1, 0, I - 1] += 1
    expected = f"no change since {cell}_forward, which kept no copy"
    text = f"{cell}_backward: x: expected {expected}, got other numbers in row 1"
    refused(ValueError, text, backward, saved=saved)
    x[1, 0, I - 1] -= 1
    assert np.array_equal(backward(saved, dy).dw_ih, before.dw_ih)
    x.resize(B * T * I, refcheck=False)
    text = f"{cell}_backward: x: expected shape (B, T, I), got (30,)"
    refused(ValueError, text, backward, saved=saved)
