"""Ways of a training step that trade memory, beside the one that the comparison knows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from comparison import ours
from comparison.contestants import OURS, Arrays, Contestant
from comparison.rows import Problem

from recurra import functional

LOW = f"{OURS}, memory low"
WINDOW = 100
WINDOWS = f"{OURS}, windows of {WINDOW}"
PYTORCH = "PyTorch"


def builder(name: str, problem: Problem) -> Callable[[Problem], Contestant]:
    """The way of this name."""
    if name == PYTORCH:
        from comparison import pytorch

        return pytorch.offers(problem.row)[PYTORCH]
    return {LOW: low, WINDOWS: windows}.get(name) or ours.offers(problem.row)[OURS]


def low(p: Problem) -> Contestant:
    """Keeps the states only, and computes the gates again in the backward pass."""
    forward, backward = _functions(p)

    def call() -> tuple[np.ndarray, Any]:
        out = forward(p.x, *p.cell_weights, memory="low")
        return out.y, backward(out.saved, p.dy)

    def results(out: tuple[np.ndarray, Any]) -> Arrays:
        y, gradients = out
        found = {f"d{name}": getattr(gradients, short) for name, short in ours.GRADIENTS.items()}
        return {"y": y, "dx": gradients.dx, **found}

    return Contestant(call, results)


def windows(p: Problem) -> Contestant:
    """Truncated: forward and backward of a window after the other, the state carried over.

    Gradients of the weights are added up; they do not reach from a window into the one before.
    """
    forward, backward = _functions(p)

    def call() -> Arrays:
        state: tuple[np.ndarray, ...] = ()
        names = ("dw_ih", "dw_hh", "db_ih", "db_hh")
        total = {name: np.zeros_like(w) for name, w in zip(names, p.cell_weights, strict=True)}
        for t in range(0, p.row.T, WINDOW):
            window = slice(t, t + WINDOW)
            _, *state, saved = forward(p.x[:, window], *p.cell_weights, *state)
            gradients = backward(saved, p.dy[:, window])
            for name in total:
                total[name] += getattr(gradients, name)
        return total

    return Contestant(call, lambda _: {})


def _functions(p: Problem) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = p.row.cell.lower()
    return getattr(functional, f"{name}_forward"), getattr(functional, f"{name}_backward")
