"""The report: Markdown for people, JSON for programs."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .contestants import OURS, TOLERANCE, Peer
from .run import Result, RowResult

SUMMARY = (
    "row", "recurra", "GFLOP/s", "best peer", "its time", "ratio", "its spread", "results"
)  # fmt: skip
DETAILS = (
    "contestant", "median", "quartiles", "GFLOP/s", "ratio", "its spread", "difference", "results"
)  # fmt: skip


def heading(machine: dict[str, str], peers: Sequence[Peer]) -> str:
    """The machine, and who is there."""
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines += [f"- {peer.name}: {peer.version or f'absent ({peer.reason})'}" for peer in peers]
    return "\n".join(lines)


def details(found: RowResult) -> str:
    """One row: a line for each contestant."""
    lines = [_detail(found, result) for result in found.results]
    return f"### {found.row.name}\n\n{_table(DETAILS, lines)}"


def _detail(found: RowResult, result: Result) -> list[str]:
    if result.quartiles is None or result.difference is None:
        return [result.name, *("–" for _ in DETAILS[2:]), f"failed: {result.error}"]
    low, median, high = result.quartiles
    return [
        result.name,
        _duration(median),
        f"{_duration(low)} – {_duration(high)}",
        f"{found.row.flops / median / 1e9:.1f}",
        _times(found.ratio(result)),
        _spread(found.ratios(result)),
        f"{result.difference:.1e}",
        result.verdict,
    ]


def summary(rows: Sequence[RowResult]) -> str:
    """Every row on a line: ours against the fastest peer."""
    return _table(SUMMARY, [_summary_line(found) for found in rows])


def _summary_line(found: RowResult) -> list[str]:
    own, best = found.results[0], found.best_peer
    verdicts = {result.verdict for result in found.results}
    rate = f"{found.row.flops / own.median / 1e9:.1f}" if own.median else "–"
    return [
        found.row.name,
        _duration(own.median),
        rate,
        best.name if best else "–",
        _duration(best.median if best else None),
        _times(found.ratio(best) if best else None),
        _spread(found.ratios(best) if best else None),
        next(verdict for verdict in ("WRONG", "failed", "ok") if verdict in verdicts),
    ]


def markdown(machine: dict[str, str], peers: Sequence[Peer], rows: Sequence[RowResult]) -> str:
    """The whole report."""
    parts = [
        "# recurra beside other libraries",
        heading(machine, peers),
        _explanation(),
        summary(rows),
        *(details(found) for found in rows),
    ]
    return "\n\n".join(parts) + "\n"


def _explanation() -> str:
    return (
        f"float32. Ratio: its time over that of `{OURS}` in the turns beside it, above 1 where "
        f"`{OURS}` is faster:\nthe median of all turns, and as its spread the quartiles. "
        f"Difference: the largest of any result, as a part of that array's "
        f"largest number; ok up to {TOLERANCE:.0e}."
    )


def as_json(
    machine: dict[str, str], peers: Sequence[Peer], rows: Sequence[RowResult]
) -> dict[str, Any]:
    """Everything that was measured; times in seconds."""
    return {
        "machine": machine,
        "peers": {p.name: {"version": p.version, "reason": p.reason} for p in peers},
        "tolerance": TOLERANCE,
        "rows": [_row_as_json(found) for found in rows],
    }


def _row_as_json(found: RowResult) -> dict[str, Any]:
    row, results = found.row, [_result_as_json(found, result) for result in found.results]
    return {"name": row.name, **asdict(row), "flops": row.flops, "results": results}


def _result_as_json(found: RowResult, result: Result) -> dict[str, Any]:
    ratios = {"ratio": found.ratio(result), "ratio_quartiles": found.ratios(result)}
    data = {**asdict(result), **ratios, "verdict": result.verdict}
    if result.difference is not None and not math.isfinite(result.difference):
        data["difference"] = None  # JSON has no NaN
    return data


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown with aligned columns, the first to the left."""
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    rule = ["-" * (width - 1) + (":" if i else "-") for i, width in enumerate(widths)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (header, rule, *lines)
    )


def _duration(seconds: float | None) -> str:
    """Three digits or more, in the unit that suits."""
    if seconds is None:
        return "–"
    unit, scale = ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3)
    value = seconds * scale
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def _spread(quartiles: tuple[float, float, float] | None) -> str:
    """The outer two of a ratio's quartiles."""
    return f"{quartiles[0]:.2f} – {quartiles[2]:.2f}" if quartiles else "–"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}×"
