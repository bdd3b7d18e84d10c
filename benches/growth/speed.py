"""Times along an axis: every library at every point, as the comparison measures a row."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from comparison import contestants, machine, run, timing
from comparison.contestants import OURS, Offers
from comparison.rows import Problem, Row

from . import ways
from .axes import Axis

FULL = timing.Plan(pause=0.02, slot=0.01, turns=3, budget=0.15)

# Seconds: who would need more for one call is left out, and the record says so.
LONGEST = 2.5


class Patience:
    """Leaves out a library where the points before foretell a call that is too long.

    The lowest forecast counts: a point that met a busy machine does not end a series.
    """

    def __init__(self, peer: Any, name: str, longest: float = LONGEST) -> None:
        self._peer, self._name, self._longest = peer, name, longest
        self._pace: dict[str, float] = {}  # seconds per operation, of each series
        self.left_out: dict[str, str] = {}

    def offers(self, problem: Problem) -> Offers:
        """Its contestants but those that would take too long; one for each library."""
        self.left_out = {}
        offered = {n: b for n, b in self._peer.offers(problem).items() if n == self._name}
        expected = self._pace.get(_series(problem.row), 0.0) * problem.row.flops
        if not offered or expected <= self._longest:
            return offered
        self.left_out[self._name] = f"left out: a call would take about {expected:.1f} s"
        return {}

    def learn(self, row: Row, results: Sequence[run.Result]) -> None:
        """Remember how long a call took, for its work."""
        for result in results:
            if result.name == self._name and result.median:
                pace = result.median / row.flops
                series = _series(row)
                self._pace[series] = min(pace, self._pace.get(series, pace))


def _series(row: Row) -> str:
    return row.cell + row.task


class LowMemory:
    """Our training with `memory="low"`, beside the default."""

    def offers(self, problem: Problem) -> Offers:
        """It changes training only."""
        return {ways.LOW: ways.low} if problem.row.task == "training" else {}


def measure(axis: Axis, *, quick: bool) -> Iterator[dict[str, Any]]:
    """First who takes part, ours alone in quick mode, and on what machine; then point by point."""
    loaded = [contestants.load(name) for name in contestants.PEERS if not quick]
    versions = {peer.name: peer.version or f"absent ({peer.reason})" for peer in loaded}
    yield {"machine": machine.describe(), "libraries": versions}
    peers = [Patience(peer, peer.name) for peer in loaded]
    peers.insert(0, Patience(LowMemory(), ways.LOW, longest=math.inf))
    plan = timing.QUICK if quick else FULL
    for series in axis.series():
        for row in series:
            yield _point(axis, row, peers, plan)


def _point(axis: Axis, row: Row, peers: list[Patience], plan: timing.Plan) -> dict[str, Any]:
    found = run.run_row(row, peers, plan)  # type: ignore[arg-type]  # all that it asks are offers
    names = {OURS, ways.LOW, *contestants.PEERS}
    results = {r.name: _record(r) for r in found.results if r.name in names}
    for peer in peers:
        peer.learn(row, found.results)
        results.update({name: {"error": why} for name, why in peer.left_out.items()})
    sizes = {name: n for name, n in asdict(row).items() if name in "BTIH"}
    about = {"axis": axis.letter, "cell": row.cell, "task": row.task, **sizes}
    return {**about, "flops": row.flops, "results": results}


def _record(result: run.Result) -> dict[str, Any]:
    if result.quartiles is None:
        return {"error": result.error}
    return {
        "seconds": result.quartiles,
        "calls": result.calls,
        "difference": result.difference,
        "verdict": result.verdict,
    }
