"""benches/training_loops.py: the examples beside the same loops in PyTorch, curve by curve."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from steady import HANGS

ROOT = Path(__file__).parent.parent
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: no module torch"
)


def report(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The JSON and the Markdown of a quick run that succeeds, in a process of its own."""
    files = folder / "loops.json", folder / "loops.md"
    command = [sys.executable, str(ROOT / "benches" / "training_loops.py"), "--quick", *options]
    command += ["--json", str(files[0]), "--markdown", str(files[1])]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=HANGS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data, text = (file.read_text(encoding="utf-8") for file in files)
    return json.loads(data), text


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for folder in ("benches", "examples"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module("training_loops")


def short(loops: ModuleType) -> list[Any]:
    """Both examples with an epoch of a few steps."""
    sine, characters = loops.examples(quick=True)

    def few(dtype: Any) -> dict[str, Any]:
        settings = sine.settings(dtype)
        settings["data"] = tuple(array[:100] for array in settings["data"])
        return settings

    return [loops.Example("sine", few, 2), loops.Example("characters", characters.settings, 1)]


def test_it_runs_alone(tmp_path: Path) -> None:
    data, text = report(tmp_path, "--alone")
    assert data["machine"]["PyTorch"] == "absent (not asked for)"
    assert [line["name"] for line in data["lines"]] == ["sine", "characters"]
    for line in data["lines"]:
        assert f"| {line['name']}, {line['steps']} steps " in text
        assert len(line["ours"]["epochs"]) == 2
        losses = np.array(line["ours"]["losses"]).reshape(2, line["steps"])
        assert losses[1].mean() < losses[0].mean()
        assert (line["other"]["losses"], line["ratio_quartiles"]) == ([], None)


def test_it_says_so_where_pytorch_is_absent(
    loops: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "comparison.pytorch_training", raising=False)
    monkeypatch.delattr(importlib.import_module("comparison"), "pytorch_training", raising=False)
    peer, reason = loops._pytorch()
    assert peer is None
    assert reason.startswith("not installed: ")


@needs_torch
@pytest.mark.parametrize("number", [0, 1], ids=["sine", "characters"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-8)])
def test_the_curves_lie_on_each_other(
    loops: ModuleType, number: int, dtype: Any, tolerance: float
) -> None:
    peer, _ = loops._pytorch()
    line = loops._line(short(loops)[number], peer, 1, dtype)
    assert len(line.other.losses) == len(line.ours.losses) > 4
    assert line.difference <= tolerance


@needs_torch
def test_another_curve_is_noticed(loops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, _ = loops._pytorch()
    assert peer is not None
    adam = peer._adam

    def hasty(*arguments: Any) -> Any:
        optimizer = adam(*arguments)
        optimizer.param_groups[0]["lr"] *= 1.001
        return optimizer

    monkeypatch.setattr(peer, "_adam", hasty)
    line = loops._line(short(loops)[0], peer, 1, np.float64)
    assert line.difference > loops.TOLERANCE


def test_curves_that_differ_in_float64_are_bad(loops: ModuleType) -> None:
    def bad(difference: float | None) -> bool:
        return loops.Line("sine", 1, 1, loops.Found(), loops.Found(), 0.0, difference).is_bad

    differences = [None, 0.0, 1e-9, 1e-7, float("nan")]
    assert [bad(difference) for difference in differences] == [False, False, False, True, True]
