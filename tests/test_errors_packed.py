"""What `pack` and packed weights refuse, and in which words."""

from typing import Any

import numpy as np
import pytest

from recurra import functional
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
    wrong,
    zeros,
)  # fmt: skip

Change = dict[str, Any]
NO_C0 = "expected None for this cell, got an array"
AS_WEIGHTS = "expected dtype float64 as the weights have, got float32"
AS_W_IH = "expected dtype float64 as w_ih has, got float32"
INTEGERS = np.zeros((4 * H, I), np.int64)


def each(*cases: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("change", "text", "error"), cases)


def weights(cell: str) -> dict[str, Any]:
    given = arguments(GATES[cell])
    return {"w_ih": given["w_ih"], "w_hh": given["w_hh"]}


@pytest.mark.parametrize("cell", ["LSTM", "rnn", ""])
def test_unknown_cells(cell: Any) -> None:
    names = "rnn_tanh, rnn_relu, lstm, gru, gru_before"
    text = f'pack: cell: expected one of {names}, got "{cell}"'
    refused(ValueError, text, functional.pack, cell=cell, **weights("lstm"))


@each(
    wrong("w_ih", zeros(I), "expected shape (4*H, I), got (5,)"),
    wrong("w_hh", zeros(32, 7), "expected shape (4*H, H) = (32, 8), got (32, 7)"),
    wrong("b_ih", zeros(7), "expected shape (4*H,) = (32,), got (7,)"),
    wrong("w_hr", zeros(P, 7), "expected shape (P, H) = (6, 8), got (6, 7)"),
    wrong("w_hh", single(32, 8), AS_W_IH, TypeError),
    wrong("w_hr", single(P, H), AS_W_IH, TypeError),
    wrong("w_ih", INTEGERS, "expected dtype float32 or float64, got int64", TypeError),
    wrong("training", 1, f"{BOOL} int", TypeError),
)
def test_pack(change: Change, text: str, error: type[Exception]) -> None:
    refused(error, f"pack: {text}", functional.pack, cell="lstm", **weights("lstm") | change)


def test_only_the_lstm_has_a_projection() -> None:
    text = "pack: w_hr: expected None for this cell, got an array"
    refused(ValueError, text, functional.pack, cell="gru", **weights("gru"), w_hr=zeros(P, H))


@each(
    wrong("x", zeros(T, I), "expected shape (B, T, I), got (3, 5)"),
    wrong("x", single(B, T, I), AS_WEIGHTS, TypeError),
    wrong("c0", single(B, H), AS_WEIGHTS, TypeError),
    wrong("c0", zeros(B, 7), "expected shape (B, H) = (2, 8), got (2, 7)"),
    wrong("lengths", [1], "expected shape (B,) = (2,), got (1,)"),
    wrong("n_threads", -1, f"{THREADS} -1"),
    wrong("reverse", 0, f"{BOOL} int", TypeError),
    wrong("save", 1, f"{BOOL} int", TypeError),
    wrong("memory", "", "expected 'keep' or 'low', got ''"),
    wrong("memory", "low", "expected 'keep' with save=False, got 'low'"),
)
def test_forward(change: Change, text: str, error: type[Exception]) -> None:
    call = functional.pack("lstm", **weights("lstm")).forward
    given = {"x": zeros(B, T, I)} | change
    refused(error, f"lstm_forward: {text}", call, **given)


def test_weights_that_were_not_packed_for_training() -> None:
    call = functional.pack("lstm", **weights("lstm")).forward
    expected = "expected False for weights packed without training=True, got True"
    refused(ValueError, f"lstm_forward: save: {expected}", call, x=zeros(B, T, I), save=True)


@each(
    wrong("x", zeros(B, T, I), "expected shape (B, I), got (2, 3, 5)"),
    wrong("x", zeros(B, 4), "expected shape (B, I) = (2, 5), got (2, 4)"),
    wrong("x", single(B, I), AS_WEIGHTS, TypeError),
    wrong("h0", zeros(3, H), "expected shape (B, H) = (2, 8), got (3, 8)"),
    wrong("h0", zeros(H), "expected shape (B, H), got (8,)"),
    wrong("c0", single(B, H), AS_WEIGHTS, TypeError),
)
def test_step(change: Change, text: str, error: type[Exception]) -> None:
    call = functional.pack("lstm", **weights("lstm")).step
    refused(error, f"lstm_step: {text}", call, **{"x": zeros(B, I)} | change)


def test_only_the_lstm_has_a_cell_state() -> None:
    packed = functional.pack("gru", **weights("gru"))
    c0 = zeros(B, H)
    refused(ValueError, f"gru_forward: c0: {NO_C0}", packed.forward, x=zeros(B, T, I), c0=c0)
    refused(ValueError, f"gru_step: c0: {NO_C0}", packed.step, x=zeros(B, I), c0=c0)
