"""Renew the tables of docs/performance.md from what the two benchmarks wrote.

python benches/performance.py --kernels out/kernels.json --comparison out/compare.json
"""

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import page
from comparison.rows import Row

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
# Of the many rows of the kernels' table: whole layers and steps, and the products of a step.
CELLS = "(lstm|gru|rnn tanh)"
SHOWN = re.compile(rf"{CELLS} (step|forward B1 T100 I1 |forward B[36]|training)|product")
THREADS = re.compile(r", (\d) thread\(s\)")
PEAK = "FMA peak, float32"
READING = re.compile(r"reading (\d+) KiB")
# Values in the benchmark of an activation, and how many of both a unit of a cell has a step.
VALUES = 2048
ACTIVATIONS = ("sigmoid float32", "tanh float32")
FORWARD = {"RNN": (0, 1), "LSTM": (3, 2), "GRU": (2, 1)}
BACKWARD = {"RNN": (0, 0), "LSTM": (0, 1), "GRU": (0, 0)}
# The ratio that the project is after, for LSTM and GRU; an RNN is to be twice as fast in every row.
AIMS = {
    "step B1 I64 H64": (4, 4),
    "step B1 I128 H128": (2, 2),
    "forward B1 T100 I64 H128": (2, 2),
    "forward B1 T100 I256 H256": (1.7, 1.7),
    "forward B32 T50 I1 H32": (3, 3),
    "forward B32 T100 I64 H64": (2, 2),
    "forward B64 T100 I256 H256": (1.4, 1.4),
    "forward B64 T100 I512 H512": (1.3, 1.3),
    "forward B64 T50 I1024 H1024": (1.2, 1.2),
    "training B32 T50 I1 H32": (5, 5),
    "training B32 T100 I64 H64": (2.5, 4),
    "training B32 T50 I128 H128": (1.8, 2.5),
    "training B64 T100 I256 H256": (1.6, 1.6),
    "training B64 T100 I512 H512": (1.5, 1.5),
    "training B64 T50 I1024 H1024": (1.4, 1.4),
    "training B32 T100 I128 H128 2 layers bidirectional": (2.5, 2.5),
}


class Machine(NamedTuple):
    """What all threads together do at best."""

    peak: float
    """Operations a second."""
    threads: int
    activations: list[float]
    """Seconds of a sigmoid and of a tanh."""
    reads: dict[int, float]
    """Bytes a second, by the bytes of each thread."""

    @classmethod
    def of(cls, kernels: dict[str, Any]) -> Self:
        best = max((p for p in kernels["probes"] if p["name"] == PEAK), key=lambda p: p["threads"])
        seconds = {row["name"]: row["seconds"][1] for row in kernels["rows"]}
        threads = best["threads"]
        activations = [seconds[name] / (VALUES * threads) for name in ACTIVATIONS]
        probes = {p["name"]: p["best"] for p in kernels["probes"] if p["threads"] == threads}
        found = ((READING.match(name), rate) for name, rate in probes.items())
        reads = {1024 * int(size[1]): 1e9 * rate for size, rate in found if size}
        return cls(1e9 * best["best"], threads, activations, reads)

    def least(self, row: dict[str, Any]) -> float:
        """The seconds that a row's multiply-adds and activations take, and nothing else.

        In a sequence of one row the recurrent multiply-adds wait for their weights: each step reads
        these once, each thread its part from the cache that holds it.
        """
        found = Row(**{field.name: row[field.name] for field in fields(Row)})
        units = int(found.lengths.sum()) * found.H * found.directions * found.layers
        passes = [FORWARD, BACKWARD] if found.task == "training" else [FORWARD]
        each = (t * n[found.cell][i] for n in passes for i, t in enumerate(self.activations))
        flops, waits = found.flops, 0.0
        if found.B == 1:
            recurrent = flops * found.H / (found.I + found.H)
            weights = 4 * recurrent / (2 * found.T)
            level = min(size for size in self.reads if size >= weights / self.threads)
            flops, waits = flops - recurrent, found.T * weights / self.reads[level]
        return flops / self.peak + waits + units * sum(each)


def main() -> None:
    """Write the tables, then the machine, into the page."""
    parser = argparse.ArgumentParser(prog="performance", description=__doc__)
    parser.add_argument("--kernels", type=Path, required=True, metavar="FILE")
    parser.add_argument("--comparison", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    kernels, comparison = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (options.kernels, options.comparison)
    )
    tables = {
        "kernels": shares(kernels),
        "comparison": ratios(comparison, Machine.of(kernels)),
        "missed": missed(comparison, Machine.of(kernels)),
        "ragged": ragged(comparison),
    }
    page.renew(PAGE, tables)


def shares(data: dict[str, Any]) -> str:
    """The probes, and each row's rate as a share of what the machine did in the same minute."""
    probes = ", ".join(
        f"{p['name']} with {p['threads']} thread(s) {p['best']:.0f} {p['unit']}"
        for p in data["probes"]
    )
    found: dict[str, dict[str, str]] = {}
    for row in data["rows"]:
        if SHOWN.match(row["name"]):
            threads = THREADS.search(row["name"])
            name = THREADS.sub("", row["name"])
            found.setdefault(name, {})[threads[1] if threads else "1"] = _share(row)
    head = ("benchmark", "1 thread", "2 threads")
    lines = [[name, cells["1"], cells.get("2", "–")] for name, cells in found.items()]
    return f"Best probes ({data['isa']}): {probes}.\n\n{page.table(head, lines)}"


def _share(row: dict[str, Any]) -> str:
    rate, limit, level = row["rate"], row["limit"], row["level"]
    return f"{rate:.0f} of {limit:.0f} {row['unit']} ({level}), {100 * rate / limit:.0f}%"


def ratios(data: dict[str, Any], machine: Machine) -> str:
    """Every row: ours, and each library's best time as a multiple of it."""
    there = {name: peer["version"] for name, peer in data["peers"].items() if peer["version"]}
    versions = ", ".join(f"{name} {version}" for name, version in there.items())
    load = f"{data['machine']['processor']}, load average {data['machine']['load average']}"
    head = ("row", "recurra", "best of the others", "ratio", "quartiles", "ceiling", *there)
    rows = data["rows"]
    lines = [[*_best(row), _ceiling(row, machine), *_each(row, list(there))] for row in rows]
    return f"{versions}. {load}.\n\n{page.table(head, lines)}"


def missed(data: dict[str, Any], machine: Machine) -> str:
    """The rows below their aims, and whether the machine leaves room for these."""
    lines = []
    for row in data["rows"]:
        _, tail = row["name"].split(" ", 1)
        best = min(_peers(row), key=lambda result: result["ratio"], default=None)
        if best is None or tail not in AIMS:
            continue
        aim = {"LSTM": AIMS[tail][0], "GRU": AIMS[tail][1], "RNN": 2}[row["cell"]]
        if best["ratio"] < aim:
            ceiling = _ceiling(row, machine)
            room = "–" if ceiling == "–" else f"{float(ceiling[:-1]) / aim:.2f}"
            lines.append([row["name"], f"{best['ratio']:.2f}×", f"{aim}×", ceiling, room])
    return page.table(("row", "ratio", "aim", "ceiling", "ceiling / aim"), lines)


def ragged(data: dict[str, Any]) -> str:
    """The rows of different lengths, beside the same ones padded and beside packed sequences."""
    head = ("row", "recurra", "recurra padded", "of its time", "PyTorch packed", "ratio")
    lines = []
    for row in data["rows"]:
        found = {r["name"]: r for r in row["results"] if r["verdict"] == "ok"}
        if row["ragged"] and {"recurra", "recurra padded", "PyTorch"} <= found.keys():
            own, padded, packed = (found[n] for n in ("recurra", "recurra padded", "PyTorch"))
            times = [page.duration(each["quartiles"][1]) for each in (own, padded, packed)]
            share = _spread([1 / ratio for ratio in reversed(padded["ratio_quartiles"])])
            lines.append([row["name"], *times[:2], share, times[2], f"{packed['ratio']:.2f}×"])
    return page.table(head, lines)


def _spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.2f} ({low:.2f} – {high:.2f})"


def _peers(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for result in row["results"]:
        if not result["name"].startswith("recurra") and result["verdict"] == "ok":
            yield result


def _best(row: dict[str, Any]) -> list[str]:
    own = row["results"][0]["quartiles"]
    best = min(_peers(row), key=lambda result: result["ratio"], default=None)
    name, ours = row["name"], page.duration(own[1]) if own else "–"
    if best is None:
        return [name, ours, "–", "–", "–"]
    low, _, high = best["ratio_quartiles"]
    return [name, ours, best["name"], f"{best['ratio']:.2f}×", f"{low:.2f} – {high:.2f}"]


def _ceiling(row: dict[str, Any], machine: Machine) -> str:
    """The ratio if ours took what the machine takes at least; a step is mostly the call itself."""
    best = min(_peers(row), key=lambda result: result["ratio"], default=None)
    if best is None or row["task"] == "step":
        return "–"
    return f"{best['quartiles'][1] / machine.least(row):.2f}×"


def _each(row: dict[str, Any], names: list[str]) -> list[str]:
    found = list(_peers(row))
    fastest = (
        min((r["ratio"] for r in found if r["name"].startswith(name)), default=None)
        for name in names
    )
    return ["–" if ratio is None else f"{ratio:.2f}×" for ratio in fastest]


if __name__ == "__main__":
    main()
