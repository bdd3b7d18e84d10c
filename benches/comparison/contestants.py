"""Who takes part, and whether the results agree."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .rows import Problem

Arrays = dict[str, np.ndarray]

OURS = "recurra"

# The name in the table, and the module here that calls it.
PEERS = {
    "PyTorch": "pytorch",
    "ONNX Runtime": "onnx_runtime",
    "OpenVINO": "openvino_runtime",
    "JAX": "jax_scan",
    "Keras": "keras_function",
}

# The largest difference, as a part of the largest number: float32 over some thousand terms.
TOLERANCE = 1e-4


@dataclass
class Contestant:
    """A call to be timed, and how to see its results as arrays.

    Results of a step are `h` (and `c`), of forward `y`, of training `y`, `dx` and `d` with the
    name of each parameter; batch first, with PyTorch's shapes.
    """

    call: Callable[[], Any]
    results: Callable[[Any], Arrays]


Offers = dict[str, Callable[[Problem], Contestant]]


@dataclass(frozen=True)
class Peer:
    """A library that is installed, or the reason why it takes no part."""

    name: str
    version: str | None
    reason: str | None = None
    module: ModuleType | None = None

    def offers(self, problem: Problem) -> Offers:
        """The contestants for this row by their names; none where it has no such task."""
        return self.module.offers(problem.row) if self.module else {}


def load(name: str) -> Peer:
    """Import a peer; one that cannot be imported is reported, not fatal."""
    try:
        module = import_module(f".{PEERS[name]}", __package__)
        return Peer(name, module.version(), module=module)
    except ImportError as error:
        return Peer(name, None, f"not installed: {error}")
    except Exception as error:
        return Peer(name, None, short(error))


def short(error: BaseException) -> str:
    """One line about an error."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:160]}"


def difference(got: Arrays, expected: Arrays) -> float:
    """The largest difference of an array, as a part of its largest number; NaN counts as wrong."""
    if got.keys() != expected.keys():
        raise ValueError(f"results are {sorted(got)}, expected {sorted(expected)}")
    worst = 0.0
    for name, want in expected.items():
        if got[name].shape != want.shape:
            raise ValueError(f"{name}: shape {got[name].shape}, expected {want.shape}")
        gap = np.abs(got[name].astype(np.float64) - want).max() / max(np.abs(want).max(), 1e-30)
        worst = float("nan") if np.isnan(gap) else max(worst, float(gap))
        if np.isnan(worst):
            break
    return worst


def agrees(gap: float) -> bool:
    """The correctness bit of a difference."""
    return gap <= TOLERANCE
