"""benches/compare.py: quick runs, alone and beside each peer, and that it notices mistakes."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steady import HANGS

BENCHES = Path(__file__).parent.parent / "benches"

# The modules that a peer's rows need.
NEEDS = {
    "PyTorch": ["torch"],
    "ONNX Runtime": ["onnx", "onnxruntime"],
    "OpenVINO": ["onnx", "openvino"],
    "JAX": ["jax"],
    "Keras": ["keras", "tensorflow"],
}


def compare(*options: str) -> subprocess.CompletedProcess[str]:
    """A quick run in a process of its own."""
    command = [sys.executable, str(BENCHES / "compare.py"), "--quick", *options]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=HANGS
    )


def reports(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The JSON and the Markdown of a run that succeeds."""
    files = folder / "report.json", folder / "report.md"
    done = compare("--json", str(files[0]), "--markdown", str(files[1]), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    data, text = (file.read_text(encoding="utf-8") for file in files)
    return json.loads(data), text


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of what `compare.py` is made of."""
    monkeypatch.syspath_prepend(str(BENCHES))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"comparison.{name}")

    return load


def test_it_runs_without_peers(tmp_path: Path) -> None:
    """Every kind of row, each with times, and all of ours with the same results."""
    report, text = reports(tmp_path, "--peers", "none")
    assert report["peers"] == {}
    tasks = {(row["cell"], row["task"]) for row in report["rows"]}
    assert tasks == {
        (c, t) for c in ("LSTM", "GRU", "RNN") for t in ("step", "forward", "training")
    }
    assert any(row["ragged"] for row in report["rows"])
    assert any(row["directions"] == 2 for row in report["rows"])
    for row in report["rows"]:
        assert f"| {row['name']} " in text
        assert row["results"][0]["ratio"] == 1
        for result in row["results"]:
            for spread in ("quartiles", "ratio_quartiles"):
                low, middle, high = result[spread]
                assert 0 < low <= middle <= high
            assert result["verdict"] == "ok", (row["name"], result)
            # Rows that end early stand last in the sums of the weights' gradients, unless padded.
            is_padded = result["name"] == "recurra padded"
            assert result["difference"] <= 1e-6 * is_padded, (row["name"], result)


@pytest.mark.parametrize("peer", NEEDS)
def test_it_agrees_with_each_peer_that_is_installed(peer: str, tmp_path: Path) -> None:
    missing = [module for module in NEEDS[peer] if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{peer} is not installed: no module {', '.join(missing)}")
    report, _ = reports(tmp_path, "--peers", peer)
    assert report["peers"][peer]["version"]
    theirs = [r for row in report["rows"] for r in row["results"] if r["name"].startswith(peer)]
    assert len(theirs) >= 6
    assert [r for r in theirs if r["verdict"] != "ok"] == []
    assert all(r["difference"] < 1e-5 for r in theirs)


def test_threads_are_limited(tmp_path: Path) -> None:
    report, _ = reports(tmp_path, "--peers", "none", "--threads", "1", "--rows", "^gru step")
    assert report["machine"]["threads"].startswith("1 of ")
    assert {row["cell"] for row in report["rows"]} == {"GRU"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "nonsense"], "--rows: nothing matches 'nonsense'"),
        (["--peers", "Abacus"], "--peers: expected names among"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
    ],
)
def test_what_it_cannot_do_is_refused(options: list[str], message: str) -> None:
    done = compare(*options)
    assert done.returncode != 0
    assert message in done.stderr


def test_an_absent_peer_is_reported(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contestants, report = part("contestants"), part("report")
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "comparison.jax_scan", raising=False)
    peer = contestants.load("JAX")
    assert peer.version is None
    assert "JAX: absent (not installed: " in report.heading({}, [peer])


def test_a_failing_or_wrong_peer_is_reported_and_stops_nobody(part: Any) -> None:
    run, ours, rows, contestants = (part(n) for n in ("run", "ours", "rows", "contestants"))

    def broken(problem: Any) -> Any:
        raise RuntimeError("no such kernel\nand more")

    def wrong(problem: Any) -> Any:
        right = ours.offers(row)["recurra"](problem)
        shift = {"y": np.float32(1e-3)}
        return contestants.Contestant(
            right.call, lambda out: {k: v + shift[k] for k, v in right.results(out).items()}
        )

    def tired(problem: Any) -> Any:
        right, calls = ours.offers(row)["recurra"](problem), iter(range(2))
        return contestants.Contestant(lambda: (next(calls), right.call())[1], right.results)

    row = rows.Row("GRU", "forward", 2, 3, 4, 5)
    offers = {"Broken": broken, "Wrong": wrong, "Tired": tired}
    peer = contestants.Peer("All", "1", module=SimpleNamespace(offers=lambda row: offers))
    found = run.run_row(row, [peer], part("timing").QUICK)
    verdicts = {result.name: result.verdict for result in found.results}
    expected = {"recurra": "ok", "recurra gru_forward": "ok", "Broken": "failed"}
    assert verdicts == {**expected, "Wrong": "WRONG", "Tired": "failed"}
    errors = {result.name: result.error for result in found.results if result.error}
    assert errors == {"Broken": "RuntimeError: no such kernel", "Tired": "StopIteration: "}
    assert found.best_peer is None
    assert run.is_bad(found)
    text = part("report").details(found)
    assert "failed: RuntimeError: no such kernel" in text
    assert "WRONG" in part("report").summary([found])


def test_the_report_stays_json_where_a_result_is_not_a_number(part: Any) -> None:
    run, row = part("run"), part("rows").Row("RNN", "forward", 1, 2, 3, 4)
    result = run.Result("recurra", difference=float("nan"), quartiles=(1.0, 2.0, 3.0), turns=[2.0])
    data = part("report").as_json({}, [], [run.RowResult(row, [result])])
    (found,) = json.loads(json.dumps(data, allow_nan=False))["rows"][0]["results"]
    assert (found["difference"], found["verdict"], found["ratio"]) == (None, "WRONG", 1)


def test_ragged_rows_as_a_share_of_their_padded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHES))
    performance = importlib.import_module("performance")

    def result(name: str, seconds: float, *ratios: float) -> dict[str, Any]:
        quartiles = [seconds / 2, seconds, 2 * seconds]
        spread = {"ratio": ratios[1], "ratio_quartiles": ratios}
        return {"name": name, "verdict": "ok", "quartiles": quartiles, **spread}

    ours, padded = result("recurra", 1e-3, 1, 1, 1), result("recurra padded", 2e-3, 1.25, 2, 4)
    packed, failed = result("PyTorch", 5e-3, 4, 5, 6), {"name": "PyTorch", "verdict": "failed"}
    rows = [
        {"name": "a", "ragged": True, "results": [ours, padded, packed]},
        {"name": "b", "ragged": True, "results": [ours, padded, failed]},
        {"name": "c", "ragged": False, "results": [ours, padded, packed]},
    ]
    lines = performance.ragged({"rows": rows}).splitlines()[2:]
    assert lines == ["| a | 1.00 ms | 2.00 ms | 0.50 (0.25 – 0.80) | 5.00 ms | 5.00× |"]


def test_results_that_cannot_be_compared_are_wrong(part: Any) -> None:
    contestants = part("contestants")
    want = {"y": np.ones((2, 3), np.float32)}
    assert contestants.difference(want, want) == 0
    nan = {"y": np.full((2, 3), np.nan, np.float32)}
    assert not contestants.agrees(contestants.difference(nan, want))
    assert not contestants.agrees(contestants.difference(want, nan))
    with pytest.raises(ValueError, match=r"y: shape \(3, 2\), expected \(2, 3\)"):
        contestants.difference({"y": want["y"].T}, want)
    with pytest.raises(ValueError, match=r"results are \[\], expected \['y'\]"):
        contestants.difference({}, want)


def test_operations_are_counted(part: Any) -> None:
    Row = part("rows").Row
    assert Row("LSTM", "forward", 2, 3, 5, 7).flops == 2 * (2 * 3) * (4 * 7) * (5 + 7)
    assert Row("GRU", "training", 2, 3, 5, 7).flops == 3 * 2 * (2 * 3) * (3 * 7) * (5 + 7)
    both = Row("RNN", "forward", 2, 3, 5, 7, layers=2, directions=2)
    assert both.flops == 2 * (2 * 3) * (2 * 7) * ((5 + 7) + (2 * 7 + 7))
    ragged = Row("RNN", "forward", 4, 30, 5, 7, ragged=True)
    assert ragged.flops == 2 * ragged.lengths.sum() * 7 * (5 + 7)
    assert ragged.lengths.max() == 30 > ragged.lengths.min()
