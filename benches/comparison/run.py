"""Running rows: every contestant on the same problem, results first, then times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import Any

from . import ours, timing
from .contestants import OURS, Arrays, Contestant, Offers, Peer, agrees, difference, short
from .rows import Problem, Row


@dataclass
class Result:
    """What one contestant did on one row; times in seconds."""

    name: str
    error: str | None = None
    difference: float | None = None
    calls: int = 0
    quartiles: tuple[float, float, float] | None = None
    turns: list[float] = field(default_factory=list)
    """The median of each turn: contestants' turns stand side by side in time."""

    @property
    def median(self) -> float | None:
        return self.quartiles[1] if self.quartiles else None

    @property
    def verdict(self) -> str:
        """`ok`, `WRONG`, or `failed`."""
        if self.error or self.difference is None or self.median is None:
            return "failed"
        return "ok" if agrees(self.difference) else "WRONG"


@dataclass
class RowResult:
    """All contestants of a row; ours is the first."""

    row: Row
    results: list[Result] = field(default_factory=list)

    def ratios(self, result: Result) -> tuple[float, float, float] | None:
        """Its time as a multiple of ours, above 1 we are faster: quartiles over the turns.

        Turn by turn, so that a machine that slows down for both changes little.
        """
        own, theirs = self.results[0].turns, result.turns
        ratios = [b / a for a, b in zip(own, theirs, strict=True)] if own and theirs else []
        return timing.quartiles(ratios) if ratios else None

    def ratio(self, result: Result) -> float | None:
        """The median of `ratios`."""
        found = self.ratios(result)
        return found[1] if found else None

    @property
    def best_peer(self) -> Result | None:
        """The one of the others whose results are right that is hardest to beat."""
        peers = [r for r in self.results if not r.name.startswith(OURS) and r.verdict == "ok"]
        return min(peers, key=lambda r: self.ratio(r) or 0.0, default=None)


def run_row(row: Row, peers: Sequence[Peer], plan: timing.Plan) -> RowResult:
    """One row; whatever fails in a contestant is written down and stops nobody else."""
    problem = Problem(row)
    offers: Offers = ours.offers(row)
    for peer in peers:
        offers = {**offers, **peer.offers(problem)}
    found = {name: Result(name) for name in offers}
    calls = _ready(problem, offers, found)

    def failed(name: str, error: Exception) -> None:
        found[name].error = short(error)

    for name, turns in timing.alternate(calls, plan, failed).items():
        times = list(chain.from_iterable(turns))
        found[name].calls, found[name].quartiles = len(times), timing.quartiles(times)
        found[name].turns = [median(turn) for turn in turns]
    return RowResult(row, list(found.values()))


def _ready(
    problem: Problem, offers: Offers, found: dict[str, Result]
) -> dict[str, Callable[[], Any]]:
    """Build each contestant and compare its first results with ours; what failed is left out."""
    expected: Arrays | None = None
    calls: dict[str, Callable[[], Any]] = {}
    for name, build in offers.items():
        try:
            contestant: Contestant = build(problem)
            results = contestant.results(contestant.call())
            expected = results if name == OURS else expected
            if expected is None:
                raise RuntimeError(f"nothing to compare with: {OURS} failed")
            found[name].difference = difference(results, expected)
            calls[name] = contestant.call
        except Exception as error:
            found[name].error = short(error)
    return calls


def is_bad(found: RowResult) -> bool:
    """A result is wrong, or ours failed: a peer that fails on its own account is not our fault."""
    return found.results[0].verdict != "ok" or any(r.verdict == "WRONG" for r in found.results)
