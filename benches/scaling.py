"""How time per token and peak memory grow with T, B, H and threads: ours and every library here.

Writes all numbers as JSON, draws the figures, and renews the tables of a page; `--from` does the
latter two from a file without measuring. See docs/scaling.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Measure or read, then write and draw: 1 where ours failed or a result is wrong."""
    options = _parse(arguments)
    if options.worker:
        return _work(json.loads(options.worker))
    if options.source:
        data = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        data = _measure(quick=options.quick)
    if options.json:
        options.json.write_text(json.dumps(data) + "\n", encoding="utf-8")
    import page
    from growth import plots, tables

    found = tables.tables(data)
    print("\n\n".join(f"## {name}\n\n{table}" for name, table in found.items()))
    if options.page:
        page.renew(options.page, found)
    if options.images:
        plots.draw(data, options.images)
    return int(tables.is_bad(data))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small point an axis, ours alone")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="numbers to draw")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="draw the figures into it")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew its tables")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# ---- measuring, each part in a process of its own


def _measure(*, quick: bool) -> dict[str, Any]:
    """Every axis on all cores, H on one core too, then memory."""
    from growth import axes, memory

    begin, cores = time.monotonic(), _cores()
    data: dict[str, Any] = {"quick": quick, "speed": [], "memory": []}
    for letter in axes.SPEED:
        for threads in sorted({1, cores} if letter == "H" else {cores}):
            task = {"speed": letter, "threads": threads, "quick": quick}
            about, *points = _told(_run(task))
            data = {**about, **data}
            data["speed"] += [{"threads": threads, **point} for point in points]
    if memory.possible():
        data["memory"] = [_memory_point(task) for task in _memory_tasks(cores, quick=quick)]
    else:
        print("scaling: memory: left out, this system does not tell it", file=sys.stderr)
    data["minutes"] = round((time.monotonic() - begin) / 60, 1)
    return data


def _memory_tasks(cores: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    from growth import axes, memory

    for letter, axis in axes.axes(axes.MEMORY, quick=quick).items():
        for cell in axes.CELLS:
            for value in axis.values:
                for name in memory.OURS if quick else memory.ALL:
                    task = {"memory": letter, "cell": cell, "value": value, "name": name}
                    yield {**task, "threads": cores, "quick": quick}


def _memory_point(task: dict[str, Any]) -> dict[str, Any]:
    (found,) = _told(_run(task))
    return found


def _run(task: dict[str, Any]) -> Iterator[str]:
    """The lines that a worker writes."""
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        yield from worker.stdout
    if worker.returncode:
        raise SystemExit(f"scaling: {task}: the worker ended with {worker.returncode}")


def _told(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """What the lines say, shown to who waits."""
    for line in lines:
        found = json.loads(line)
        print({k: v for k, v in found.items() if k != "results"}, file=sys.stderr, flush=True)
        yield found


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _work(task: dict[str, Any]) -> int:
    """A worker: one axis of times, or one point of memory."""
    from compare import _limit_threads as limit_threads

    limit_threads(task["threads"])
    from growth import axes, memory, speed

    if "speed" in task:
        axis = axes.axes(axes.SPEED, quick=task["quick"])[task["speed"]]
        for found in speed.measure(axis, quick=task["quick"]):
            print(json.dumps(found), flush=True)
        return 0
    axis = axes.axes(axes.MEMORY, quick=task["quick"])[task["memory"]]
    row = axis.row(task["cell"], "training", task["value"])
    about = {"axis": axis.letter, "cell": row.cell, "value": task["value"], "name": task["name"]}
    print(json.dumps({**about, **memory.peak(task["name"], row)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
