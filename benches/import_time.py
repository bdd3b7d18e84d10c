"""How long `import recurra` takes beyond NumPy's own, in fresh processes."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import page

FRESH = """
import time
clocks = time.perf_counter, time.process_time
start = [clock() for clock in clocks]
import numpy
between = [clock() for clock in clocks]
import recurra
end = [clock() for clock in clocks]
print([b - a for x, y in ((start, between), (between, end)) for a, b in zip(x, y)])
"""
ROWS = (
    "NumPy, by the clock",
    "NumPy, processor time",
    "recurra after it, by the clock",
    "recurra after it, processor time",
)


def main(arguments: list[str] | None = None) -> int:
    """Print a table: medians and quartiles."""
    parser = argparse.ArgumentParser(prog="import_time", description=__doc__)
    parser.add_argument("--times", type=int, default=25, help="processes, default: %(default)s")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the table there")
    options = parser.parse_args(arguments)
    _once()  # files come into memory, and compiled modules are written
    columns = zip(*(_once() for _ in range(options.times)), strict=True)
    lines = [(name, *_summary(column)) for name, column in zip(ROWS, columns, strict=True)]
    found = page.table(("import", "median", "quartiles"), lines)
    print(found)
    if options.page:
        page.renew(options.page, {"import": found})
    return 0


def _once() -> list[float]:
    """Seconds, in the order of `ROWS`, as it is for users: from compiled modules."""
    command = [sys.executable, "-c", FRESH]
    usual = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=usual)
    return json.loads(done.stdout)


def _summary(seconds: tuple[float, ...]) -> tuple[str, str]:
    low, median, high = (page.duration(float(q)) for q in np.percentile(seconds, [25, 50, 75]))
    return median, f"{low} – {high}"


if __name__ == "__main__":
    sys.exit(main())
