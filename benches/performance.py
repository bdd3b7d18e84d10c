"""Renew the tables of docs/performance.md from what the two benchmarks wrote.

python benches/performance.py --kernels out/kernels.json --comparison out/compare.json
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
# Of the many rows of the kernels' table: whole layers, steps, and a few products.
KINDS = ("lstm", "gru", "rnn tanh", "product")


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
    page.renew(PAGE, {"kernels": shares(kernels), "comparison": ratios(comparison)})


def shares(data: dict[str, Any]) -> str:
    """The probes, and each row's rate as a share of what the machine did in the same minute."""
    probes = ", ".join(
        f"{p['name']} with {p['threads']} thread(s) {p['best']:.0f} {p['unit']}"
        for p in data["probes"]
    )
    head = ("benchmark", "median", "rate", "limit", "share")
    lines = [_share(row) for row in data["rows"] if row["name"].startswith(KINDS)]
    return f"Best probes ({data['isa']}): {probes}.\n\n{page.table(head, lines)}"


def _share(row: dict[str, Any]) -> list[str]:
    rate, limit = row["rate"], row["limit"]
    return [
        row["name"],
        page.duration(row["seconds"][1]),
        f"{rate:.1f} {row['unit']}",
        f"{limit:.1f} {row['level']}",
        f"{100 * rate / limit:.0f}%",
    ]


def ratios(data: dict[str, Any]) -> str:
    """Every row: ours, and each library's best time as a multiple of it."""
    there = {name: peer["version"] for name, peer in data["peers"].items() if peer["version"]}
    versions = ", ".join(f"{name} {version}" for name, version in there.items())
    load = f"{data['machine']['processor']}, load average {data['machine']['load average']}"
    head = ("row", "recurra", "best of the others", "ratio", "quartiles", *there)
    lines = [[*_best(row), *_each(row, list(there))] for row in data["rows"]]
    return f"{versions}. {load}.\n\n{page.table(head, lines)}"


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


def _each(row: dict[str, Any], names: list[str]) -> list[str]:
    found = list(_peers(row))
    fastest = (
        min((r["ratio"] for r in found if r["name"].startswith(name)), default=None)
        for name in names
    )
    return ["–" if ratio is None else f"{ratio:.2f}×" for ratio in fastest]


if __name__ == "__main__":
    main()
