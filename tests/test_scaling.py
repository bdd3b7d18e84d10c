"""benches/scaling.py and its neighbours: quick runs, and a page that says what was measured."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BENCHES = ROOT / "benches"
PAGE = ROOT / "docs" / "scaling.md"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHES))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


def run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHES / script), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_quick_run_measures_and_draws_again_without_measuring(tmp_path: Path) -> None:
    numbers, first, second = tmp_path / "n.json", tmp_path / "first", tmp_path / "second"
    shown = run("scaling.py", "--quick", "--json", str(numbers), "--images", str(first))
    assert run("scaling.py", "--from", str(numbers), "--images", str(second)) == shown
    names = sorted(path.name for path in first.iterdir())
    assert {"scaling_T.svg", "scaling_B.svg", "scaling_H.svg"} <= set(names)
    assert [path.name for path in sorted(second.iterdir())] == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_contention_measures_every_call_alone_and_beside_others(tmp_path: Path) -> None:
    numbers = tmp_path / "n.json"
    run("contention.py", "--quick", "--json", str(numbers))
    rows = json.loads(numbers.read_text(encoding="utf-8"))["rows"]
    found = {(row["cell"], row["T"], row["busy"]) for row in rows}
    assert found == {(c, T, busy) for c in ("LSTM", "GRU") for T in (1, 100) for busy in (0, 2)}
    assert all(0 < row["p50"] <= row["p99"] <= row["max"] for row in rows)


def test_import_time() -> None:
    assert "recurra after it" in run("import_time.py", "--times", "2")


def test_the_page_has_the_tables_of_its_numbers(load: Any, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    data = json.loads((ROOT / "docs" / "scaling.json").read_text(encoding="utf-8"))
    rows = json.loads((ROOT / "docs" / "contention.json").read_text(encoding="utf-8"))["rows"]
    copy = tmp_path / "page.md"
    copy.write_text(text, encoding="utf-8")
    tables = {**load("growth.tables").tables(data), "contention": load("contention").table(rows)}
    load("page").renew(copy, tables)
    assert copy.read_text(encoding="utf-8") == text


def test_figures_of_the_page_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    images = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line[:2] == "!["]
    assert images
    assert all((PAGE.parent / image).exists() for image in images)


def test_a_failure_of_ours_is_bad_and_one_of_others_is_not(load: Any) -> None:
    is_bad = load("growth.tables").is_bad

    def data(name: str, **result: Any) -> dict[str, Any]:
        return {"speed": [{"results": {name: result}}], "memory": []}

    assert is_bad(data("recurra", error="no"))
    assert is_bad(data("PyTorch", verdict="WRONG"))
    assert not is_bad(data("PyTorch", error="left out"))
    assert not is_bad(data("recurra", verdict="ok"))


def test_a_page_without_marks_is_refused(load: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(SystemExit, match="expected one <!-- a -->"):
        load("page").renew(page, {"a": "table"})
