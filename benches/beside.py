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

__all__ = ["Call", "Row", "main", "torch"]

THREADS = (1, 2)
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
