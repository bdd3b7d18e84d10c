"""The numbers of a figure or a table, out of all."""

from collections.abc import Iterable
from typing import Any

from comparison.contestants import OURS

Lines = dict[str, list[tuple[float, float]]]


def speed_points(
    data: dict[str, Any], letter: str, cell: str, task: str, threads: int | None = None
) -> list[dict[str, Any]]:
    """The points of a series in order; those of the most threads unless it says which."""
    every = [p for p in data["speed"] if (p["axis"], p["cell"], p["task"]) == (letter, cell, task)]
    wanted = threads or max((p["threads"] for p in every), default=1)
    return sorted((p for p in every if p["threads"] == wanted), key=lambda p: p[letter])


def tokens(point: dict[str, Any]) -> int:
    """A token is one step of one row."""
    return point["B"] * point["T"]


def medians(point: dict[str, Any]) -> dict[str, float]:
    """Seconds of a call, of those whose results are right."""
    found = point["results"].items()
    return {name: r["seconds"][1] for name, r in found if r.get("verdict") == "ok"}


def seconds_per_token(points: Iterable[dict[str, Any]]) -> Lines:
    """A line for each library."""
    lines: Lines = {}
    for point in points:
        for name, seconds in medians(point).items():
            lines.setdefault(name, []).append((point[point["axis"]], seconds / tokens(point)))
    return lines


def speed_up(data: dict[str, Any], cell: str, task: str, threads: int) -> Lines:
    """One thread's time over that of several, over H."""
    lines: Lines = {}
    several = speed_points(data, "H", cell, task, threads)
    for one, many in zip(speed_points(data, "H", cell, task, 1), several, strict=True):
        alone, together = medians(one), medians(many)
        # In the order of the results: a set's would draw the same numbers in another order.
        for name in (name for name in alone if name in together):
            lines.setdefault(name, []).append((one["H"], alone[name] / together[name]))
    return lines


def memory_points(data: dict[str, Any], letter: str, cell: str) -> Lines:
    """Bytes, a line for each way."""
    lines: Lines = {}
    for p in data["memory"]:
        if (p["axis"], p["cell"]) == (letter, cell) and "bytes" in p:
            lines.setdefault(p["name"], []).append((p["value"], p["bytes"]))
    return lines


def best_peer(point: dict[str, Any]) -> tuple[str, float] | None:
    """The fastest of the others."""
    peers = {name: s for name, s in medians(point).items() if not name.startswith(OURS)}
    return min(peers.items(), key=lambda item: item[1], default=None)
