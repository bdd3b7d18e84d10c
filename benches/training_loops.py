"""The examples trained by `fit`, beside the same loops in PyTorch where it is installed.

Same data, batches, initial weights, optimizer and threads. In one process `fit` runs and, after
each of its epochs, the other loop does the same epoch. Losses are compared step by step; those of
float64 must agree. See benches/README.md.
"""

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import page
from comparison import contestants, machine, timing

import recurra
from recurra.data import Arrays
from recurra.train import Callback, fit

sys.path.append(str(Path(__file__).parent.parent / "examples"))
import characters
import sine

OURS, THEIRS = "recurra", "PyTorch"
TABLE = (
    "example", "threads", OURS, THEIRS, "ratio", "its spread", "float32", "float64", "last losses"
)  # fmt: skip
# Before an epoch: threads that spin, waiting for the last one's work, go to sleep.
PAUSE = 0.02
# Of the largest loss of a curve, in float64; in float32 rounding grows from step to step.
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Example:
    """What is trained: `settings` by dtype, and epochs enough for a spread."""

    name: str
    settings: Callable[[Any], dict[str, Any]]
    epochs: int

    def prepared(self, dtype: Any) -> dict[str, Any]:
        """What `fit` is called with, its pairs of arrays as the batches that it makes of them."""
        settings = self.settings(dtype)
        for name in ("data", "validation"):
            if isinstance(pair := settings.get(name), tuple):
                settings[name] = Arrays(*pair, BATCH_SIZE, shuffle=name == "data")
        return settings


BATCH_SIZE = inspect.signature(fit).parameters["batch_size"].default


def examples(quick: bool) -> list[Example]:
    """Both; a shorter text for the second, so that there are epochs enough."""
    if quick:
        return [Example("sine", sine.settings, 2), Example("characters", _text(20_000), 2)]
    return [Example("sine", sine.settings, 9), Example("characters", _text(20_500), 7)]


def _text(size: int) -> Callable[[Any], dict[str, Any]]:
    return lambda dtype: characters.settings(size, dtype)


@dataclass
class Found:
    """What one loop did: seconds of its epochs, losses of its steps."""

    epochs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Turns(Callback):
    """Times the epochs of `fit`, and after each lets the other loop do the same one."""

    def __init__(self, theirs: Any = None) -> None:
        self.theirs = theirs
        self.ours, self.other = Found(), Found()

    def on_fit_begin(self, run: Any) -> None:
        self._begin()

    def on_step_end(self, run: Any) -> None:
        self.ours.losses.append(run.loss)

    def on_epoch_end(self, run: Any, row: dict[str, Any]) -> None:
        self.ours.epochs.append(time.perf_counter() - self._start)
        if self.theirs is not None:
            self._begin()
            losses = self.theirs.epoch(run.epoch - 1)
            self.other.epochs.append(time.perf_counter() - self._start)
            self.other.losses += losses
        self._begin()

    def _begin(self) -> None:
        time.sleep(PAUSE)
        self._start = time.perf_counter()


@dataclass
class Line:
    """An example on so many threads; times are seconds, without the first epoch."""

    name: str
    threads: int
    steps: int
    """In an epoch."""
    ours: Found
    other: Found
    difference: float | None = None
    """The largest of two losses of a step in float32, as a part of the largest loss of all steps;
    None where nobody is there."""
    difference64: float | None = None
    """The same in float64."""

    @property
    def ratios(self) -> tuple[float, float, float] | None:
        """Its time as a multiple of ours, epoch by epoch: quartiles."""
        pairs = list(zip(self.ours.epochs, self.other.epochs, strict=False))[1:]
        return timing.quartiles([b / a for a, b in pairs]) if pairs else None

    @property
    def last(self) -> list[float]:
        """The mean losses of the last epoch, ours and theirs if they are there."""
        curves = (found.losses[-self.steps :] for found in (self.ours, self.other))
        return [sum(curve) / len(curve) for curve in curves if curve]

    @property
    def is_bad(self) -> bool:
        """Whether the curves of float64 are two curves."""
        return self.difference64 is not None and not self.difference64 <= TOLERANCE


def main(arguments: list[str] | None = None) -> int:
    """Print a table: 1 where curves in float64 do not agree."""
    options = _parse(arguments)
    if options.allocator == "keeping":
        _keep_freed_memory()
    peer, reason = (None, "not asked for") if options.alone else _pytorch()
    about = machine.describe()
    about[THEIRS] = peer.version() if peer else f"absent ({reason})"
    heading = "\n".join(f"- {name}: {value}" for name, value in about.items() if name != "threads")
    print(heading, flush=True)
    threads = 1 if options.quick else min(2, _cores())
    lines = [line for e in examples(options.quick) for line in _lines(e, peer, threads)]
    table = page.table(TABLE, [_row(line) for line in lines])
    print(f"\n{table}")
    for line in lines:
        if line.is_bad:
            print(f"{line.name}: the curves in float64 do not agree", file=sys.stderr)
    if options.json:
        data = {
            "machine": about,
            "tolerance": TOLERANCE,
            "lines": [_as_json(line) for line in lines],
        }
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        text = f"# Whole trainings\n\n{heading}\n\n{table}\n"
        options.markdown.write_text(text, encoding="utf-8")
    if options.page:
        renewed = f"{about['processor']}, {THEIRS} {about[THEIRS]}.\n\n{table}"
        page.renew(options.page, {"training loops": renewed})
    return int(any(line.is_bad for line in lines))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training_loops", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two epochs each, seconds in all")
    parser.add_argument("--alone", action="store_true", help="without PyTorch")
    parser.add_argument(
        "--allocator",
        choices=["keeping", "default"],
        default="keeping",
        help="whether malloc keeps large blocks that were freed; default: %(default)s",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times and losses")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew its table")
    return parser.parse_args(arguments)


def _keep_freed_memory() -> None:
    """Let neither loop ask the system for fresh pages in every step, where malloc is glibc's.

    After a block so large was freed, it keeps what is smaller: a loop that never frees one pays
    for it all along, and which of the two does so is chance.
    """
    np.empty(31 << 20, np.uint8)


def _pytorch() -> tuple[ModuleType | None, str]:
    try:
        from comparison import pytorch_training
    except ImportError as error:
        return None, f"not installed: {error}"
    return pytorch_training, ""


def _lines(example: Example, peer: ModuleType | None, threads: int) -> list[Line]:
    """On one thread and on so many; float64 on one."""
    lines = [_line(example, peer, n) for n in range(1, threads + 1)]
    if peer:
        short = Example(example.name, example.settings, min(3, example.epochs))
        exact = _line(short, peer, 1, np.float64)
        for line in lines:
            line.difference64 = exact.difference
    return lines


def _line(example: Example, peer: ModuleType | None, threads: int, dtype: Any = np.float32) -> Line:
    settings = example.prepared(dtype)
    if peer:
        peer.set_threads(threads)
    turns = Turns(peer.Training(example.name, settings) if peer else None)
    with recurra.num_threads(threads):
        fit(**settings, epochs=example.epochs, callbacks=[turns], progress=False)
    line = Line(example.name, threads, len(settings["data"]), turns.ours, turns.other)
    if peer:
        curves = ({"loss": np.array(found.losses)} for found in (turns.other, turns.ours))
        line.difference = contestants.difference(*curves)
    return line


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _row(line: Line) -> list[str]:
    low, middle, high = line.ratios or (None, None, None)
    return [
        f"{line.name}, {line.steps} steps",
        str(line.threads),
        *(_epoch(found) for found in (line.ours, line.other)),
        "–" if middle is None else f"{middle:.2f}×",
        "–" if middle is None else f"{low:.2f} – {high:.2f}",
        *(_gap(gap) for gap in (line.difference, line.difference64)),
        ", ".join(f"{loss:.4g}" for loss in line.last),
    ]


def _epoch(found: Found) -> str:
    return page.duration(timing.quartiles(found.epochs[1:])[1]) if found.epochs else "–"


def _gap(gap: float | None) -> str:
    return "–" if gap is None else f"{gap:.1e}"


def _as_json(line: Line) -> dict[str, Any]:
    ratio = {"ratio_quartiles": line.ratios, "verdict": "WRONG" if line.is_bad else "ok"}
    return {**asdict(line), **ratio}


if __name__ == "__main__":
    sys.exit(main())
