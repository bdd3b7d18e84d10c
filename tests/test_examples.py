"""Every example runs, in a short form, and is short itself."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {"characters.py": ["1", "20000"], "sine.py": ["1"]}
PRINTS = {"characters.py": "bits per character: ", "sine.py": "on the test: "}


def test_all_examples_are_here() -> None:
    assert sorted(SHORT) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(SHORT))
def test_an_example_runs_and_has_forty_lines_at_most(name: str) -> None:
    path = EXAMPLES / name
    assert len(path.read_text("utf-8").splitlines()) <= 40
    command = [sys.executable, str(path), *SHORT[name]]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    value = float(last.removeprefix(PRINTS[name]).split()[-1])
    assert 0 < value < {"characters.py": 6, "sine.py": 0.1}[name], last
