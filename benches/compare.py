"""Compare recurra with the libraries that are installed: see PEERS in comparison/contestants.py.

Same weights, data and threads for all, in one process, with alternating calls. Every time stands
beside the largest difference of its results from ours. See benches/README.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

# Nobody uses another device or fills the report with its log; Keras runs on TensorFlow.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison: 1 where a result is wrong or ours failed."""
    options = _parse(arguments)
    _limit_threads(options.threads)
    # Libraries read their numbers of threads when they are imported, so this comes second.
    from comparison import contestants, machine, report, rows, run, timing

    chosen = rows.matching(rows.all_rows(options.quick), options.rows)
    peers = [contestants.load(name) for name in _wanted(options.peers, contestants.PEERS)]
    about = machine.describe()
    print(report.heading(about, peers), flush=True)
    found = []
    for row in chosen:
        found.append(run.run_row(row, peers, timing.QUICK if options.quick else timing.FULL))
        print(f"\n{report.details(found[-1])}", flush=True)
    about["load average"] += f", afterwards {machine.load()}"
    print(f"\n{report.summary(found)}\n\nload average: {about['load average']}")
    if options.json:
        text = json.dumps(report.as_json(about, peers, found), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(report.markdown(about, peers, found), encoding="utf-8")
    return int(any(run.is_bad(row) for row in found))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--threads", type=int, default=_available(), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds in all")
    parser.add_argument("--rows", metavar="PATTERN", help="regular expression for rows' names")
    parser.add_argument("--peers", metavar="NAMES", help="with commas between, or none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the whole report")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error(f"--threads: expected at least 1, got {options.threads}")
    return options


def _available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limit_threads(n: int) -> None:
    """Tell every library before it is imported; where the system can, also keep it to `n` CPUs."""
    many = "true" if n > 1 else "false"
    xla = f"--xla_cpu_multi_thread_eigen={many} intra_op_parallelism_threads={n}"
    names = ("OMP", "MKL", "OPENBLAS", "RECURRA")
    os.environ.update({f"{name}_NUM_THREADS": str(n) for name in names}, XLA_FLAGS=xla, **SETTINGS)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def _wanted(names: str | None, known: dict[str, str]) -> list[str]:
    """The peers that `--peers` names; all of them without it."""
    if names is None:
        return list(known)
    chosen = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise SystemExit(f"compare: --peers: expected names among {list(known)}, got {unknown}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
