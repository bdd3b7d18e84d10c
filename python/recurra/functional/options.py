"""What options may be, and which cell of the core they choose."""

from typing import Literal

Memory = Literal["keep", "low"]
Cell = Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before"]


def rnn_cell(operation: str, activation: str) -> Cell:
    """The cell of an RNN with `activation`."""
    if activation == "tanh":
        return "rnn_tanh"
    if activation == "relu":
        return "rnn_relu"
    raise ValueError(f"{operation}: activation: expected 'tanh' or 'relu', got {activation!r}")


def gru_cell(operation: str, reset_after: object) -> Cell:
    """The cell of a GRU of either form."""
    if not isinstance(reset_after, bool):
        got = type(reset_after).__name__
        raise TypeError(f"{operation}: reset_after: expected True or False, got {got}")
    return "gru" if reset_after else "gru_before"
