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
from recurra.autograd import Tensor
from recurra.lm.model import CharLM, Score, evaluate
from recurra.optim import Adam, clip_grad_norm
from recurra.text import Ids, Windows

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

    `fraction` of the training is done, `characters` were read in `seconds`. `validation` is the
    score on the text held out, in the steps that end with one; the last step does.
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
    NaN ends it with a `FloatingPointError`, before it reaches the weights.
    """
    windows = Windows(train, config.batch, config.window)
    pace = _Pace(config, len(windows))
    optimizer = Adam(model.parameters(), lr=config.lr)
    state, fraction, characters = None, 0.0, 0
    model.train()
    for step, (inputs, targets, is_first) in enumerate(_endless(windows), 1):
        optimizer.lr = config.lr * _rate(fraction)
        loss, state = model.loss(inputs, targets, None if is_first else state)
        _update(model, optimizer, loss, config.clip, step)
        characters += inputs.size
        fraction, ends = pace.fraction(step), stop()
        is_last = ends or fraction >= 1
        due = is_last or step % config.validate_every == 0
        score = evaluate(model, validation) if due else None
        yield Report(step, fraction, loss.item(), characters, pace.seconds(), score)
        if is_last:
            return


def _update(model: CharLM, optimizer: Adam, loss: Tensor, clip: float, step: int) -> None:
    if not math.isfinite(loss.item()):
        raise FloatingPointError(
            f"fit: loss: expected a finite one, got {loss.item()} in step {step}; "
            "a smaller learning rate may help"
        )
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm(model.parameters(), clip)
    optimizer.step()


def _endless(windows: Windows) -> Iterator[tuple[Ids, Ids, bool]]:
    """Inputs and targets again and again, and whether a reading of the text begins here."""
    while True:
        for i, (inputs, targets) in enumerate(windows):
            yield inputs, targets, i == 0


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

    def fraction(self, step: int) -> float:
        return min(1.0, max(step / self.steps, self.seconds() / self.limit))
