"""What a training step needs at its peak, beyond what was there before it.

A point is a process of its own: arguments and gradients made and touched, threads started by a
small step, the mark of the peak set back, then one step. The difference is what the step asked the
system for: what it keeps for the backward pass, packed weights, scratch, and its results.
"""

import gc
import re
from pathlib import Path
from typing import Any

from comparison import contestants
from comparison.rows import Problem, Row

from . import ways

OURS = (contestants.OURS, ways.LOW, ways.WINDOWS)
ALL = (*OURS, ways.PYTORCH)
# Large enough that every library starts its threads, small enough to leave nothing behind.
SMALL = {"B": 16, "T": 16, "I": 32, "H": 32}


def possible() -> bool:
    """Linux tells the peak and lets a process set it back."""
    try:
        _set_back()
    except OSError:
        return False
    return True


def peak(name: str, row: Row) -> dict[str, Any]:
    """Bytes of one step; an error where it has none."""
    try:
        return {"bytes": _peak(name, row)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _peak(name: str, row: Row) -> int:
    small = Problem(Row(row.cell, row.task, **SMALL))
    ways.builder(name, small)(small).call()
    problem = Problem(row)
    step = ways.builder(name, problem)(problem).call
    gc.collect()
    _set_back()
    before = _status("VmRSS")
    results = step()
    after = _status("VmHWM")
    del results  # alive until here
    return after - before


def _set_back() -> None:
    """The peak becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}")
    return 1024 * int(found[1])
