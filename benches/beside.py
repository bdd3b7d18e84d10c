"""Calls of recurra on one thread and on two, beside the same in PyTorch where it is installed."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import page
from comparison import machine, timing

import recurra

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

__all__ = ["Call", "Row", "backward", "compare", "main", "torch", "torch_backward"]

THREADS = (1, 2)
# Of results and gradients in float64, as a part of the largest number.
TOLERANCE = 1e-9
HEAD = ["", *(f"recurra, {n}" for n in THREADS), "gain", *(f"PyTorch, {n}" for n in THREADS)]
HEAD += [f"ratio, {n}" for n in THREADS]

Call = Callable[[], Any]
Row = tuple[str, Call, Call | None]
"""A name, what recurra does, and the same in PyTorch."""


def main(
    name: str, about: str | None, rows: Callable[[], Iterable[Row]], arguments: list[str] | None
) -> int:
    """Print a table of medians, and put it into a page between the marks of that name."""
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument("--quick", action="store_true", help="show that it works")
    parser.add_argument("--page", type=Path, help="renew the table between its marks")
    options = parser.parse_args(arguments)
    print(*(f"{key}: {value}" for key, value in machine.describe().items()), sep="\n")
    plan = timing.QUICK if options.quick else timing.FULL
    table = page.table(HEAD, [_line(row, plan) for row in rows()])
    print(table)
    if options.page:
        page.renew(options.page, {name: table})
    return 0


def _line(row: Row, plan: timing.Plan) -> list[str]:
    name, ours, theirs = row
    calls = {("recurra", n): _on(recurra.set_num_threads, n, ours) for n in THREADS}
    if theirs is not None:
        calls |= {("PyTorch", n): _on(torch.set_num_threads, n, theirs) for n in THREADS}
    named = {f"{who} {n}": call for (who, n), call in calls.items()}
    times = timing.alternate(named, plan, _raise)
    found = {key: float(np.median(np.concatenate(turns))) for key, turns in times.items()}
    line = [name, *(page.duration(found[f"recurra {n}"]) for n in THREADS)]
    line.append(f"{found['recurra 1'] / found['recurra 2']:.2f}×")
    if theirs is None:
        return line + ["–"] * (2 * len(THREADS))
    line += [page.duration(found[f"PyTorch {n}"]) for n in THREADS]
    return line + [f"{found[f'PyTorch {n}'] / found[f'recurra {n}']:.2f}×" for n in THREADS]


def _on(set_threads: Callable[[int], None], count: int, call: Call) -> Call:
    def called() -> None:
        set_threads(count)
        call()

    return called


def _raise(_: str, error: Exception) -> None:
    raise error


def compare(
    name: str, ours: Any, theirs: Any, inputs: list[np.ndarray], dy: np.ndarray | None = None
) -> None:
    """End the run if results or gradients of the two differ."""
    found, peers = backward(ours, inputs, dy)(), torch_backward(theirs, inputs, dy)()
    for got, wanted in zip(found, peers, strict=True):
        if not np.abs(got - np.asarray(wanted)).max() <= TOLERANCE * np.abs(got).max():
            raise SystemExit(f"{name}: recurra and PyTorch do not agree")


def backward(
    function: Callable[..., Any], inputs: list[np.ndarray], dy: np.ndarray | None = None
) -> Call:
    """What calls and differentiates a function; `dy` is the first input unless it is given."""

    def call() -> list[Any]:
        leaves = [recurra.Tensor(a, requires_grad=True) for a in inputs]
        y = function(*leaves)
        y.backward(inputs[0] if dy is None else dy)
        return [y.data, *(leaf.grad for leaf in leaves)]

    return call


def torch_backward(
    function: Callable[..., Any], inputs: list[np.ndarray], dy: np.ndarray | None = None
) -> Call:
    """The same in PyTorch."""
    tensors = [torch.tensor(a) for a in inputs]
    gradient = tensors[0] if dy is None else torch.tensor(dy)

    def call() -> list[Any]:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        y = function(*leaves)
        y.backward(gradient)
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    return call
