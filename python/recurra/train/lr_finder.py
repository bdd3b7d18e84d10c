"""Which learning rates are worth trying."""

import math
from typing import Any, NamedTuple

import numpy as np

from recurra import checks, random
from recurra.module import Module
from recurra.optim import Optimizer
from recurra.schedules.base import an_optimizer
from recurra.train import loop
from recurra.train.calling import Caller, Loss
from recurra.train.fitting import Data, as_batches
from recurra.train.run import Run
from recurra.train.schedules import Scheduler

__all__ = ["LRCurve", "find_lr"]

SMOOTHING = 0.9
TOO_MUCH = 4.0
"""How many times the best loss ends the search."""


class LRCurve(NamedTuple):
    """What `find_lr` found."""

    lr: list[float]
    """The learning rates, ascending."""
    loss: list[float]
    """The smoothed loss at each."""
    suggestion: float
    """Where the loss fell the fastest."""


def find_lr(
    model: Module,
    data: Data,
    loss: Loss,
    optimizer: Optimizer,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    clip_norm: float | None = None,
    batch_size: int = 32,
    seed: int | None = 0,
) -> LRCurve:
    """Train for a moment with a learning rate that grows from `low` to `high`.

    The search ends after `steps` steps, or when the loss explodes. Model, optimizer, gradients
    and random numbers are afterwards what they were (Smith, Cyclical Learning Rates for Training
    Neural Networks, 2017). The other arguments are those of `fit`.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import find_lr
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = recurra.Linear(1, 1)
    >>> optimizer = recurra.Adam(model.parameters())
    >>> curve = find_lr(model, (x, 3 * x), recurra.mse, optimizer)
    >>> 1e-6 <= curve.suggestion <= 1, optimizer.lr
    (True, 0.001)
    """
    low, high = (checks.number("find_lr", n, v) for n, v in (("low", low), ("high", high)))
    if not 0 < low < high < math.inf:
        raise ValueError(f"find_lr: low and high: expected 0 < low < high, got {low} and {high}")
    checks.room("find_lr", "steps", (checks.size("find_lr", "steps", steps, 3),), np.float64)
    run = Run(
        model=model,
        optimizer=an_optimizer("find_lr", optimizer),
        caller=Caller(model, loss),
        scheduler=Scheduler(None, optimizer, "step"),
        data=as_batches("data", data, batch_size, seed),
        clip_norm=checks.positive_or_none("find_lr", "clip_norm", clip_norm),
    )
    rates = np.geomspace(low, high, steps).tolist()
    before = model.state_dict(), optimizer.state_dict(), random.get_state()
    grads = [parameter.grad for parameter in run.parameters]
    try:
        with loop.mode(model, training=True):
            losses = _losses(run, rates)
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        random.set_state(before[2])
        for parameter, grad in zip(run.parameters, grads, strict=True):
            parameter.grad = grad
    smooth = _smoothed(losses)
    return LRCurve(rates[: len(smooth)], smooth, _steepest(rates, smooth))


def _losses(run: Run, rates: list[float]) -> list[float]:
    losses: list[float] = []
    run.zero_grad()
    for rate, batch in zip(rates, run.endless(), strict=False):
        run.optimizer.lr = rate
        try:
            loop.advance(run, batch)
        except FloatingPointError:
            if not losses:
                raise
            break
        losses.append(run.loss)
        if run.loss > TOO_MUCH * max(min(losses), 1e-12) and len(losses) > 3:
            break
    return losses


def _smoothed(losses: list[float]) -> list[float]:
    """An exponential mean, as if it had always been the first."""
    smooth, mean = [], losses[0]
    for loss in losses:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth.append(mean)
    return smooth


def _steepest(rates: list[float], losses: list[float]) -> float:
    if len(losses) < 3:
        return rates[0]
    slopes: Any = np.gradient(np.asarray(losses))
    return float(rates[int(np.argmin(slopes))])
