"""Many small models in one process, called from several Python threads, alone and beside others.

A worker is a process of its own with 100 models of one kind, each with its own weights and state,
dealt to 8 threads; each thread calls its models in turn. It runs on one core and on all, alone and
beside two processes that compete for the same cores. See docs/scaling.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import page

THREADS, BUSY, H = 8, 2, 64
CELLS = {"LSTM": 4, "GRU": 3}
# Each with the modules that it needs.
LIBRARIES = {
    "recurra": ("recurra",),
    "PyTorch": ("torch",),
    "PyTorch, 1 thread": ("torch",),
    "ONNX Runtime": ("onnx", "onnxruntime"),
}
CALLS = (1, 100)
TABLE = ("library", "call", "cores", "busy beside", "steps/s", "p50", "p99", "max", "p99/p50")


@dataclass(frozen=True)
class Task:
    """What one worker measures."""

    library: str
    cell: str
    cores: int
    seconds: float
    models: int
    switch_interval: float


# ---- the worker


@dataclass
class Model:
    """A call from a state to the next, and the state."""

    call: Callable[[Any], Any]
    state: Any


Maker = Callable[[str, int], Model]
"""From a cell and the steps of a call."""
Scope = Callable[[], AbstractContextManager[Any]]
"""What each thread enters."""


def work(task: Task) -> list[dict[str, Any]]:
    """Every length of a call, alone and beside busy processes on the same cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.cores])
    sys.setswitchinterval(task.switch_interval)
    makers = {"recurra": _recurra, "ONNX Runtime": _onnx_runtime}
    make, scope = makers.get(task.library, partial(_pytorch, task.library))()
    found = []
    for T in CALLS:
        models = [make(task.cell, T) for _ in range(task.models)]
        for processes in (0, BUSY):
            with _busy(processes):
                _measure(models, scope, task.seconds / 5)
                found.append({"T": T, "busy": processes, **_measure(models, scope, task.seconds)})
    return found


def _recurra() -> tuple[Maker, Scope]:
    from recurra import functional

    rng = np.random.default_rng(0)

    def make(cell: str, T: int) -> Model:
        rows = CELLS[cell] * H
        shapes = ((rows, H), (rows, H), (rows,), (rows,))
        arrays = [rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32) for shape in shapes]
        weights = functional.pack("lstm" if cell == "LSTM" else "gru", *arrays)
        x = rng.standard_normal((1, T, H), dtype=np.float32)
        state = (np.zeros((1, H), np.float32), np.zeros((1, H), np.float32))
        state = state if cell == "LSTM" else (state[0], None)
        if T == 1:
            x = x[:, 0]
            return Model(lambda state: weights.step(x, *state), state)
        return Model(lambda state: weights.forward(x, *state, save=False)[1:3], state)

    return make, nullcontext


def _pytorch(library: str) -> tuple[Maker, Scope]:
    import torch

    if library.endswith("1 thread"):
        torch.set_num_threads(1)

    def make(cell: str, T: int) -> Model:
        # For one step its cells are faster than its layers.
        module = getattr(torch.nn, f"{cell}Cell" if T == 1 else cell)(H, H).eval()
        x = torch.randn(1, H) if T == 1 else torch.randn(T, 1, H)
        h = torch.zeros(1, H) if T == 1 else torch.zeros(1, 1, H)
        state = (h, h.clone()) if cell == "LSTM" else h
        if T == 1:
            return Model(lambda state: module(x, state), state)
        return Model(lambda state: module(x, state)[1], state)

    return make, torch.inference_mode


def _onnx_runtime() -> tuple[Maker, Scope]:
    """One thread a session; its sequences start from zero."""
    import onnxruntime
    from comparison import onnx_model
    from comparison.rows import Problem, Row

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def make(cell: str, T: int) -> Model:
        problem = Problem(Row(cell, "step" if T == 1 else "forward", 1, T, H, H))
        content, providers = onnx_model.model(problem), ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        x, names = problem.x.swapaxes(0, 1).copy(), list(onnx_model.states(problem))
        if T > 1:
            return Model(lambda _: session.run(None, {"x": x}), None)

        def call(state: Any) -> Any:
            return session.run(None, {"x": x, **dict(zip(names, state, strict=True))})

        return Model(call, list(onnx_model.states(problem).values()))

    return make, nullcontext


def _measure(models: Sequence[Model], scope: Scope, seconds: float) -> dict[str, float]:
    """Calls per second of all threads together, and the quantiles of a call in seconds."""
    times = [array("q") for _ in range(THREADS)]
    start, stop = threading.Barrier(THREADS + 1), threading.Event()
    threads = [
        threading.Thread(target=_call_in_turn, args=(models[i::THREADS], scope, own, start, stop))
        for i, own in enumerate(times)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    calls = np.concatenate([np.frombuffer(own, np.int64) for own in times]) * 1e-9
    p50, p99 = (float(q) for q in np.percentile(calls, [50, 99]))
    return {"calls/s": len(calls) / elapsed, "p50": p50, "p99": p99, "max": float(calls.max())}


def _call_in_turn(
    models: Sequence[Model],
    scope: Scope,
    times: "array[int]",
    start: threading.Barrier,
    stop: threading.Event,
) -> None:
    """One thread: its models one after the other, each call timed."""
    clock = time.perf_counter_ns
    with scope():
        start.wait()
        while not (times and stop.is_set()):
            for model in models:
                begin = clock()
                model.state = model.call(model.state)
                times.append(clock() - begin)


@contextmanager
def _busy(n: int) -> Iterator[None]:
    """That many processes that never rest; they inherit the cores of this one."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        time.sleep(0.2 * bool(n))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


# ---- all workers, and the report


def main(arguments: list[str] | None = None) -> int:
    """Measure all tasks in rounds, so that each meets the same machine, and print the table."""
    options = _parse(arguments)
    if options.task:
        print(json.dumps(work(Task(**json.loads(options.task)))))
        return 0
    from comparison import machine

    tasks, rounds = _tasks(options), 1 if options.quick else 3
    common = ("seconds", "models", "switch_interval")
    about = {**machine.describe(), **{name: getattr(tasks[0], name) for name in common}}
    found: dict[Task, list[list[dict[str, Any]]]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            found[task].append(_run(task))
    rows = [row for task in tasks for row in _medians(task, found[task])]
    about["load average"] += f", afterwards {machine.load()}"
    found = table(rows)
    print(found)
    if options.page:
        page.renew(options.page, {"contention": found})
    if options.json:
        text = json.dumps({"machine": about, "rounds": rounds, "rows": rows}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="contention", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds in all, measures nothing")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument(
        "--switch-interval", type=float, default=sys.getswitchinterval(), metavar="SECONDS",
        help="for which a Python thread may keep the interpreter, default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the table there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _tasks(options: argparse.Namespace) -> list[Task]:
    """Those libraries that are installed; in quick mode ours with few models."""
    all_cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        all_cores = len(os.sched_getaffinity(0))
    present = [name for name, needs in LIBRARIES.items() if all(map(find_spec, needs))]
    libraries = present[:1] if options.quick else present
    seconds, models = (0.02, THREADS) if options.quick else (options.seconds, 100)
    return [
        Task(library, cell, cores, seconds, models, options.switch_interval)
        for cell in CELLS
        for library in libraries
        for cores in sorted({1, all_cores} if hasattr(os, "sched_setaffinity") else {all_cores})
    ]


def _run(task: Task) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--task", json.dumps(asdict(task))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def _medians(task: Task, rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each measurement as the median of its rounds; the longest call is the longest of all."""
    rows = []
    for measurements in zip(*rounds, strict=True):
        middle = {
            name: statistics.median(m[name] for m in measurements)
            for name in ("calls/s", "p50", "p99")
        }
        longest = max(m["max"] for m in measurements)
        same = {name: measurements[0][name] for name in ("T", "busy")}
        about = {"library": task.library, "cell": task.cell, "cores": task.cores}
        rows.append({**about, **same, **middle, "max": longest})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: time steps per second of all threads together, and how long a call took."""
    order = sorted(rows, key=lambda r: (r["T"], list(CELLS).index(r["cell"]), r["busy"]))
    return page.table(TABLE, [_line(row) for row in order], left=2)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    steps = "1 step" if row["T"] == 1 else f"{row['T']} steps"
    return (
        row["library"],
        f"{row['cell']}, {steps}",
        str(row["cores"]),
        str(row["busy"]),
        f"{row['calls/s'] * row['T']:,.0f}",
        *(page.duration(row[name]) for name in ("p50", "p99", "max")),
        f"{row['p99'] / row['p50']:.1f}×",
    )


if __name__ == "__main__":
    sys.exit(main())
