"""Timing calls against each other: alternating, so that all meet the same machine."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    pause: float
    """Seconds before a turn: threads that spin, waiting for the last one's work, go to sleep."""
    slot: float
    """Seconds of a turn, in which one contestant is called again and again, at least once."""
    turns: int
    """Turns of each contestant, at least."""
    budget: float
    """Seconds for each contestant, after which there are no more turns than those."""


FULL = Plan(pause=0.02, slot=0.02, turns=5, budget=1.0)
QUICK = Plan(pause=0.001, slot=0.001, turns=3, budget=0.0)

# A call that takes longer than this needs no other call before it to find its caches warm.
LONG = 0.1


def alternate(
    calls: dict[str, Callable[[], Any]], plan: Plan, failed: Callable[[str, Exception], None]
) -> dict[str, list[list[float]]]:
    """Seconds of every timed call, by name and turn; who raises is told to `failed`, drops out."""
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    end = time.perf_counter() + plan.budget * len(calls)
    gc.collect()
    gc.disable()
    try:
        turn = 0
        while times and (turn < plan.turns or time.perf_counter() < end):
            for name in _rotated(list(times), turn):
                try:
                    times[name].append(_one_turn(calls[name], plan, times[name]))
                except Exception as error:
                    del times[name]
                    failed(name, error)
            turn += 1
    finally:
        gc.enable()
    return times


def _one_turn(call: Callable[[], Any], plan: Plan, before: list[list[float]]) -> list[float]:
    """The first call wakes threads and fills caches, and is not counted."""
    time.sleep(plan.pause)
    if not before or before[-1][-1] < LONG:
        call()
    times: list[float] = []
    start = time.perf_counter()
    end = start + plan.slot
    while not times or start < end:
        call()
        now = time.perf_counter()
        times.append(now - start)
        start = now
    return times


def _rotated(names: list[str], turn: int) -> list[str]:
    """Nobody always follows the same one."""
    first = turn % len(names)
    return names[first:] + names[:first]


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = (float(q) for q in np.percentile(times, [25, 50, 75]))
    return low, middle, high
