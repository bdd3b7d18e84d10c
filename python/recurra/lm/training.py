"""Training by truncated backpropagation through time.

The text is read as parallel streams, a window at a time. The state is carried from window to
window; gradients stop at a window's beginning (Williams and Peng, An Efficient Gradient-Based
Algorithm for On-Line Training of Recurrent Network Trajectories, 1990).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from recurra import checks
from recurra.data import Streams
from recurra.lm.model import CharLM, Score, evaluate
from recurra.losses import cross_entropy
from recurra.optim import Adam
from recurra.text import Ids
from recurra.train.calling import Caller
from recurra.train.loop import advance
from recurra.train.run import Run
from recurra.train.schedules import Scheduler

__all__ = ["Report", "TrainConfig", "fit"]

DEFAULT_EPOCHS = 10
WARMUP = 0.02
"""The part of the training in which the learning rate rises to its full value."""
FLOOR = 0.02
"""The learning rate at the end, as a part of the full one."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    `epochs` is how often the text is read (10 if neither it nor `minutes` is given), `minutes` how
    long the training may take; what comes first ends it. `batch` streams are read in windows of
    `window` characters. `lr` is Adam's learning rate after a short linear rise; a cosine then
    lowers it nearly to 0. `clip` is the largest 2-norm that the gradient keeps. There is a
    validation every `validate_every` steps and at the end.

    The rate follows the clock where `minutes` is given: only without it, the same seed gives the
    same weights on every run and machine.

    >>> from recurra.lm import TrainConfig
    >>> TrainConfig(clip=0)
    Traceback (most recent call last):
    ValueError: TrainConfig: clip: expected a number above 0, got 0
    """

    epochs: int | None = None
    minutes: float | None = None
    batch: int = 32
    window: int = 64
    lr: float = 4e-3
    clip: float = 1.0
    validate_every: int = 200

    def __post_init__(self) -> None:
        for name in ("batch", "window", "validate_every"):
            checks.size("TrainConfig", name, getattr(self, name))
        if self.epochs is not None:
            checks.size("TrainConfig", "epochs", self.epochs)
        for name in ("minutes", "lr", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"TrainConfig: {name}: expected a number above 0, got {value}")


@dataclass(frozen=True)
class Report:
    """One step of a training: `loss` is that of its window before the step, in nats.

    `fraction` of the training is done, `characters` were read in `seconds`, the validations of
    earlier steps among them. `validation` is the score on the text held out, in the steps that end
    with one; the last step does.
    """

    step: int
    fraction: float
    loss: float
    characters: int
    seconds: float
    validation: Score | None = None


def fit(
    model: CharLM,
    train: Ids,
    validation: Ids,
    config: TrainConfig,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train a model in place, with a report after each step.

    `train (N,)` and `validation (N,)` are texts by character number. After the step in which
    `stop()` is true there is a last validation, and the training ends. A loss that is infinite or
    NaN ends it before it reaches the weights, with a `FloatingPointError` that says where it arose.
    """
    optimizer = Adam(model.parameters(), lr=config.lr)
    run = Run(
        model=model,
        optimizer=optimizer,
        caller=Caller(model, cross_entropy),
        scheduler=Scheduler(None, optimizer, "step"),
        data=Streams(train, config.batch, config.window),
        clip_norm=config.clip,
    )
    pace, fraction, characters = _Pace(config, len(run.data)), 0.0, 0
    model.train()
    for batch in run.endless():
        optimizer.lr = config.lr * _rate(fraction)
        advance(run, batch)
        characters += batch.inputs.size
        seconds, ends = pace.seconds(), stop()
        fraction = pace.fraction(run.step, seconds)
        is_last = ends or fraction >= 1
        due = is_last or run.step % config.validate_every == 0
        score = evaluate(model, validation) if due else None
        yield Report(run.step, fraction, run.loss, characters, seconds, score)
        if is_last:
            return


def _rate(fraction: float) -> float:
    """The learning rate as a part of the full one, when a fraction of the training is done."""
    if fraction < WARMUP:
        return max(fraction / WARMUP, 0.01)
    half_turn = math.pi * (fraction - WARMUP) / (1 - WARMUP)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(half_turn)) / 2


class _Pace:
    """How far a training is: by its steps or by the clock, whichever is further."""

    def __init__(self, config: TrainConfig, steps_an_epoch: int) -> None:
        epochs = config.epochs or (math.inf if config.minutes else DEFAULT_EPOCHS)
        self.steps = epochs * steps_an_epoch
        self.limit = math.inf if config.minutes is None else 60 * config.minutes
        self.start = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def fraction(self, step: int, seconds: float) -> float:
        return min(1.0, max(step / self.steps, seconds / self.limit))
