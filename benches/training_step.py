"""What Python costs in a training step of `fit`: four tiny layers, Adam, clipping, one thread.

The sizes are so small that the kernels take next to nothing. A step's time is taken whole, and in
other runs as the sum of the calls into the core; the rest is Python: the layers, the graph, the
loss, the optimizer and the loop itself. These parts are taken in a loop by hand, so that what is
left for the loop of fit is the least certain. Beside it is the same step in a loop written by hand.
The runs take turns. On a machine that others use look at the least, not at the median.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import page

import recurra
from recurra import _core
from recurra.data import Batch
from recurra.train import Callback, fit

ROUNDS = 10
X = np.random.default_rng(0).standard_normal((2, 3, 2)).astype(np.float32)
Y = X[..., :1].copy()


class Batches:
    """The same batch again and again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def epoch(self, _: int) -> Any:
        return (Batch(X, Y) for _ in range(self.count))


class Clock(Callback):
    """Notes the time after each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, _: Any) -> None:
        self.times.append(time.perf_counter())


def main(arguments: list[str] | None = None) -> int:
    """Print a table: medians and the least of all steps."""
    parser = argparse.ArgumentParser(prog="training_step", description=__doc__)
    parser.add_argument("--steps", type=int, default=5000, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with recurra.num_threads(1):
        rounds = [_measured(max(2, options.steps // ROUNDS)) for _ in range(ROUNDS)]
    times = {name: [t for one in rounds for t in one[name]] for name in rounds[0]}
    medians = _rows({name: median(t) for name, t in times.items()})
    least = _rows({name: min(t) for name, t in times.items()})
    table = [(n, page.duration(medians[n]), page.duration(least[n])) for n in medians]
    print(page.table(("part", "median", "least"), table))
    return 0


def _measured(steps: int) -> dict[str, list[float]]:
    """The times of a round: what is slow for a while is slow for all of them."""
    whole, core, by_hand = _fitted(steps), _in_core(steps), _by_hand(steps)
    return {"step of fit": whole, "kernels": core, "by hand": by_hand} | _parts(steps)


def _rows(times: dict[str, float]) -> dict[str, float]:
    """The lines of the table: Python is what is left of the whole."""
    whole, core, by_hand, *parts = times.values()
    return {
        "step of fit": whole,
        "kernels and their binding": core,
        "Python": whole - core,
        **{f"Python: {name}": times[name] for name in list(times)[3:]},
        "Python: the loop of fit": whole - core - sum(parts),
        "the same step by hand": by_hand,
    }


def _model() -> tuple[Any, Any]:
    recurra.manual_seed(0)
    layers = recurra.Linear(2, 4), recurra.LSTM(4, 4), recurra.GRU(4, 4), recurra.Linear(4, 1)
    model = recurra.Sequential(*layers)
    return model, recurra.Adam(model.parameters())


def _fitted(steps: int) -> list[float]:
    model, optimizer = _model()
    clock = Clock()
    fit(model, Batches(steps + 1), recurra.mse, optimizer, clip_norm=1.0, callbacks=[clock])
    return np.diff(clock.times).tolist()


def _by_hand(steps: int) -> list[float]:
    model, optimizer = _model()
    times = []
    for _ in range(steps + 1):
        loss = recurra.mse(model(X), Y)
        optimizer.zero_grad()
        loss.backward()
        recurra.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        times.append(time.perf_counter())
    return np.diff(times).tolist()


def _in_core(steps: int) -> list[float]:
    """The time that each step spends in functions of the core."""
    model, optimizer = _model()
    found = []

    class Sum(Callback):
        def on_step_end(self, _: Any) -> None:
            found.append(spent.pop())
            spent.append(0.0)

    with _clocked() as spent:
        fit(model, Batches(steps), recurra.mse, optimizer, clip_norm=1.0, callbacks=[Sum()])
    return found


def _parts(steps: int) -> dict[str, list[float]]:
    """The time that the parts of a step spend outside the core."""
    model, optimizer = _model()
    parameters = list(model.parameters())
    kept: dict[str, Any] = {}

    def forward() -> None:
        kept["outputs"] = model(X)

    def loss() -> None:
        kept["loss"] = recurra.mse(kept.pop("outputs"), Y)

    def clip() -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        _core.scale_(grads, 0.5 / _core.grad_norm(grads))

    functions: dict[str, Callable[[], None]] = {
        "the layers forward": forward,
        "the loss": loss,
        "backward": lambda: kept.pop("loss").backward(),
        "clipping": clip,
        "the optimizer": optimizer.step,
    }
    found: dict[str, list[float]] = {name: [] for name in functions}
    with _clocked() as spent:
        for _ in range(steps):
            for name, function in functions.items():
                spent[:] = [0.0]
                start = time.perf_counter()
                function()
                found[name].append(time.perf_counter() - start - spent[0])
            optimizer.zero_grad()
    return found


@contextmanager
def _clocked() -> Iterator[list[float]]:
    """Adds up, in a list of one number, the time spent in functions of the core."""
    spent = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent[0] += time.perf_counter() - start
            return result

        return call

    own = {n: f for n, f in vars(_core).items() if type(f).__name__.startswith("builtin")}
    try:
        vars(_core).update({name: timed(function) for name, function in own.items()})
        yield spent
    finally:
        vars(_core).update(own)


if __name__ == "__main__":
    sys.exit(main())
