"""Stopping and going on, to the bit: k steps, save, new objects, the other steps.

And the same bits for every number of threads and instruction set.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from bits import ISAS, forced_isa
from optimizers import CASES, feed, start
from recurra import schedules
from steady import HANGS

SCHEDULES: dict[str, Any] = {
    "step": lambda o: schedules.StepLR(o, 3, 0.7),
    "multi_step": lambda o: schedules.MultiStepLR(o, [2, 7]),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "linear": lambda o: schedules.LinearLR(o, 0.1, total_iters=8),
    "constant": lambda o: schedules.ConstantLR(o, 0.1, 6),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 7, 1e-4),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2),
    "lambda": lambda o: schedules.LambdaLR(o, lambda n: 1 / (n + 2)),
    "one_cycle": lambda o: schedules.OneCycleLR(
        o, 0.1, 12, cycle_momentum="beta1" in o.param_groups[0]
    ),
    "sequential": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1), schedules.ExponentialLR(o, 0.5)], [5]
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        o, [schedules.LinearLR(o, 0.1), schedules.ExponentialLR(o, 0.5)]
    ),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=1, cooldown=1),
}
METRICS = [3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 1.0, 1.5, np.nan, 1.2, 1.3, 0.5]
PAIRS = [(name, "cosine") for name in CASES]
PAIRS += [(name, s) for name in ("adamw_groups", "sgd_nesterov", "radam") for s in SCHEDULES]


class Training:
    """An optimizer and a schedule, and the parameters they change."""

    def __init__(self, name: str, schedule: str) -> None:
        self.name, self.params = name, start(name)
        self.optimizer = CASES[name](self.params)
        self.schedule = SCHEDULES[schedule](self.optimizer)

    def run(self, steps: range) -> None:
        for step in steps:
            feed(self.name, self.params, step)
            self.optimizer.step()
            if isinstance(self.schedule, schedules.ReduceLROnPlateau):
                self.schedule.step(METRICS[step])
            else:
                self.schedule.step()

    def save(self) -> dict[str, np.ndarray]:
        state = {f"params/{i}": p.data.copy() for i, p in enumerate(self.params)}
        state |= {f"optimizer/{k}": v for k, v in self.optimizer.state_dict().items()}
        return state | {f"schedule/{k}": v for k, v in self.schedule.state_dict().items()}

    def load(self, saved: Any) -> None:
        parts: dict[str, dict[str, Any]] = {"params": {}, "optimizer": {}, "schedule": {}}
        for key in saved:
            kind, name = key.split("/", 1)
            parts[kind][name] = saved[key]
        for i, p in enumerate(self.params):
            p.data[...] = parts["params"][str(i)]
        self.optimizer.load_state_dict(parts["optimizer"])
        self.schedule.load_state_dict(parts["schedule"])


def bits(training: Training) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in training.save().items()}


@pytest.mark.parametrize("k", [0, 1, 5, 11])
@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_fresh_objects_go_on(name: str, schedule: str, k: int) -> None:
    whole = Training(name, schedule)
    whole.run(range(k))
    saved = whole.save()
    whole.run(range(k, 12))
    resumed = Training(name, schedule)
    resumed.load(saved)
    resumed.run(range(k, 12))
    assert bits(resumed) == bits(whole)


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from test_optim_resume import PAIRS, Training

folder = Path(sys.argv[1])
for i, (name, schedule) in enumerate(PAIRS):
    training = Training(name, schedule)
    training.load(np.load(folder / f"{i}.npz"))
    training.run(range(5, 12))
    np.savez(folder / f"{i}.after.npz", **training.save())
"""


def test_a_new_process_goes_on(tmp_path: Path) -> None:
    for i, pair in enumerate(PAIRS):
        training = Training(*pair)
        training.run(range(5))
        np.savez(tmp_path / f"{i}.npz", **training.save())
    where = [str(Path(__file__).parent), str(Path(recurra.__file__).parents[1])]
    program = f"import sys; sys.path[:0] = {where!r}\n{PROGRAM}"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=HANGS)
    for i, pair in enumerate(PAIRS):
        whole = Training(*pair)
        whole.run(range(12))
        after = np.load(tmp_path / f"{i}.after.npz")
        assert {name: after[name].tobytes() for name in after} == bits(whole), pair


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_threads_and_instruction_sets_change_no_bit(name: str, isa: str) -> None:
    def run(n_threads: int) -> list[bytes]:
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=n).astype(np.float32) for n in (150_001, 7)]
        params = [recurra.Tensor(a, requires_grad=True) for a in arrays]
        optimizer = CASES[name](params)
        with recurra.num_threads(n_threads):
            for _ in range(7):
                for p in params:
                    p.grad = rng.normal(size=p.shape).astype(np.float32)
                optimizer.step()
        return [p.data.tobytes() for p in params]

    expected = run(1)
    with forced_isa(isa):
        assert all(run(n) == expected for n in (1, 2, 3))
