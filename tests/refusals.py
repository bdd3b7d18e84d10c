"""What the tests of refusals share: small calls that are right, and one way to make them wrong."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

__all__ = [
    "BOOL", "GATES", "THREADS", "B", "H", "I", "P", "T", "arguments", "refused", "single",
    "spelled", "wrong", "zeros",
]  # fmt: skip

B, T, I, H, P = 2, 3, 5, 8, 6
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
THREADS = "expected an integer from 1 to 4096, got"
BOOL = "expected True or False, got"


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape)


def single(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def arguments(gates: int, width: int = H) -> dict[str, Any]:
    """Return arguments that fit; `width` is P for the projected LSTM."""
    return {"x": zeros(B, T, I), "w_ih": zeros(gates * H, I), "w_hh": zeros(gates * H, width)}


def wrong(name: str, given: Any, text: str, error: type[Exception] = ValueError) -> Any:
    """Return a parameter set: the argument `name`, what is wrong with it, and the exception."""
    return pytest.param({name: given}, f"{name}: {text}", error, id=f"{name} {text}")


def spelled(text: str, gates: int) -> str:
    """Write the gates of a cell where `text` has G: `4*H`, or `H` where there is one."""
    return text.replace("G*H", f"{gates}*H" if gates > 1 else "H").replace("GH", str(gates * H))


def refused(error: type[BaseException], text: str, call: Callable[..., Any], **given: Any) -> None:
    """Assert that the call raises the error with exactly this text."""
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        call(**given)
