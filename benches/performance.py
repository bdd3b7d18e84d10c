"""Renew the tables of docs/performance.md from what the two benchmarks wrote.

python benches/performance.py --kernels out/kernels.json --comparison out/compare.json
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
# Of the many rows of the kernels' table: whole layers and steps, and the products of a step.
CELLS = "(lstm|gru|rnn tanh)"
SHOWN = re.compile(rf"{CELLS} (step|forward B1 T100 I1 |forward B[36]|training)|product")
THREADS = re.compile(r", (\d) thread\(s\)")
PEAK = "FMA peak, float32"


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
    peaks = [p["best"] for p in kernels["probes"] if p["name"] == PEAK]
    tables = {
        "kernels": shares(kernels),
        "comparison": ratios(comparison, 1e9 * max(peaks)),
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


def ratios(data: dict[str, Any], peak: float) -> str:
    """Every row: ours, and each library's best time as a multiple of it; the machine's `peak`."""
    there = {name: peer["version"] for name, peer in data["peers"].items() if peer["version"]}
    versions = ", ".join(f"{name} {version}" for name, version in there.items())
    load = f"{data['machine']['processor']}, load average {data['machine']['load average']}"
    head = ("row", "recurra", "best of the others", "ratio", "quartiles", "ceiling", *there)
    lines = [[*_best(row), _ceiling(row, peak), *_each(row, list(there))] for row in data["rows"]]
    return f"{versions}. {load}.\n\n{page.table(head, lines)}"


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


def _ceiling(row: dict[str, Any], peak: float) -> str:
    """The ratio if ours were only multiply-adds, at the machine's peak: not for one row's reads."""
    best = min(_peers(row), key=lambda result: result["ratio"], default=None)
    if best is None or row["B"] == 1:
        return "–"
    return f"{best['quartiles'][1] * peak / row['flops']:.2f}×"


def _each(row: dict[str, Any], names: list[str]) -> list[str]:
    found = list(_peers(row))
    fastest = (
        min((r["ratio"] for r in found if r["name"].startswith(name)), default=None)
        for name in names
    )
    return ["–" if ratio is None else f"{ratio:.2f}×" for ratio in fastest]


if __name__ == "__main__":
    main()
