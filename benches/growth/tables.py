"""The numbers as tables."""

from itertools import product
from typing import Any

import page
from comparison.contestants import OURS

from .axes import CELLS, MEMORY, SPEED, TASKS
from .select import best_peer, medians, memory_points, speed_points, speed_up, tokens


def tables(data: dict[str, Any]) -> dict[str, str]:
    """All tables by their names."""
    return {
        "machine": _machine(data),
        **{f"time over {letter}": _speed(data, letter) for letter in SPEED},
        "threads": _threads(data),
        **{f"memory over {letter}": _memory(data, letter) for letter in MEMORY},
        "left out": _left_out(data),
    }


def _machine(data: dict[str, Any]) -> str:
    about = {**data["machine"], **data["libraries"], "minutes of the run": data["minutes"]}
    return page.table(("", ""), [(k, str(v)) for k, v in about.items()], left=2)


def _speed(data: dict[str, Any], letter: str) -> str:
    """Our µs per token, and the best other's time as a multiple of ours."""
    columns = [speed_points(data, letter, cell, task) for cell in CELLS for task in TASKS]
    head = [letter, *(f"{cell} {task}" for cell in CELLS for task in TASKS)]
    rows = zip(*columns, strict=True)
    return page.table(head, [[str(row[0][letter]), *map(_against_best, row)] for row in rows])


def _against_best(point: dict[str, Any]) -> str:
    own, best = medians(point).get(OURS), best_peer(point)
    if own is None:
        return "failed"
    text = f"{_digits(own / tokens(point) * 1e6)} µs"
    return f"{text}, {best[1] / own:.2f}× ({best[0]})" if best else text


def _threads(data: dict[str, Any]) -> str:
    """How much faster several threads are, ours and each library, over H."""
    threads = max((point["threads"] for point in data["speed"]), default=1)
    values = [p["H"] for p in speed_points(data, "H", CELLS[0], TASKS[0])]
    lines = []
    for cell, task in product(CELLS, TASKS):
        found = speed_up(data, cell, task, threads)
        for name in sorted(found, key=lambda name: (not name.startswith(OURS), name)):
            times = {x: f"{y:.2f}×" for x, y in found[name]}
            lines.append([f"{cell} {task}, {name}", *(times.get(h, "–") for h in values)])
    return page.table(["H", *map(str, values)], lines)


def _memory(data: dict[str, Any], letter: str) -> str:
    """MB, a line for each way."""
    values = sorted({p["value"] for p in data["memory"] if p["axis"] == letter})
    lines = []
    for cell in CELLS:
        for name, points in memory_points(data, letter, cell).items():
            found = {x: f"{_digits(y / 1e6)} MB" for x, y in points}
            lines.append([f"{cell}, {name}", *(found.get(v, "–") for v in values)])
    return page.table([letter, *map(str, values)], lines)


def _left_out(data: dict[str, Any]) -> str:
    """Every point without a right result, a line for each series and library, and the first why."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for p in data["speed"]:
        series = f"{p['cell']} {p['task']} over {p['axis']}, threads: {p['threads']}"
        for name, r in p["results"].items():
            if r.get("verdict") != "ok":
                why = r.get("error") or f"its results differ by {r['difference']}"
                found.setdefault((series, name), []).append((p[p["axis"]], why))
    for p in data["memory"]:
        if "error" in p:
            series = f"{p['cell']} memory over {p['axis']}"
            found.setdefault((series, p["name"]), []).append((p["value"], p["error"]))
    if not found:
        return "Nothing."
    lines = [
        (series, name, ", ".join(str(value) for value, _ in points), points[0][1])
        for (series, name), points in found.items()
    ]
    return page.table(("series", "who", "at", "why, at the first"), lines, left=4)


def is_bad(data: dict[str, Any]) -> bool:
    """A result is wrong, or ours failed: a library that fails on its own account is not our fault.

    Ours is never left out for taking long, and has no excuse.
    """
    found = [item for p in data["speed"] for item in p["results"].items()]
    failed = [name for name, r in found if "error" in r]
    failed += [p["name"] for p in data["memory"] if "error" in p]
    wrong = any(r.get("verdict", "ok") != "ok" for _, r in found)
    return wrong or any(name.startswith(OURS) for name in failed)


def _digits(value: float) -> str:
    """Three significant ones or more."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
