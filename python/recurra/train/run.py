"""The state of a training, all of it: what a checkpoint holds and callbacks see."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recurra import random
from recurra.autograd import Tensor
from recurra.data import Batch, Batches
from recurra.metrics import Metric
from recurra.module import Module
from recurra.optim import Optimizer
from recurra.train.callback import Callback
from recurra.train.calling import Caller, detached
from recurra.train.history import History
from recurra.train.origin import agree, agree_all, origin
from recurra.train.schedules import Scheduler

__all__ = ["Run", "Totals"]


@dataclass
class Totals:
    """Sums over the part of an epoch that is done."""

    loss: float = 0.0
    weight: float = 0.0
    grad_norm: float = 0.0
    updates: int = 0

    def add(self, loss: float, weight: float) -> None:
        """Take in the mean loss of a batch that weighs `weight`."""
        self.loss += loss * weight
        self.weight += weight

    def means(self) -> dict[str, float]:
        """The mean loss of a target, and the mean norm of a gradient."""
        return {
            "loss": self.loss / self.weight if self.weight else float("nan"),
            "grad_norm": self.grad_norm / self.updates if self.updates else float("nan"),
        }


@dataclass
class Run:
    """A training under way."""

    model: Module
    optimizer: Optimizer
    caller: Caller
    scheduler: Scheduler
    data: Batches
    validation: Batches | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    epochs: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    callbacks: Sequence[Callback] = ()

    history: History = field(default_factory=History)
    epoch: int = 0
    """Epochs that are done."""
    batch: int = 0
    """Batches of the epoch under way that are done."""
    step: int = 0
    """Updates of the weights so far."""
    loss: float = float("nan")
    """That of the last batch, before its update."""
    grad_norm: float = float("nan")
    """The norm of the last gradient, before clipping."""
    totals: Totals = field(default_factory=Totals)
    carried: Any = None
    """The model's state after the last batch, with what it was made from."""
    restored: bool = False
    """Whether a callback has put back the weights of an earlier epoch at the end."""
    seconds_before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.parameters = _parameters(self.model, self.optimizer)
        for metric in self.metrics.values():
            metric.reset()

    def stop(self, why: str) -> None:
        """End the training after the update, or the epoch, that is under way."""
        self.history.stopped = why or "stopped"

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def endless(self) -> Iterator[Batch]:
        """Epoch after epoch, for who calls `advance` with each batch."""
        while True:
            yield from self.data.epoch(self.epoch)
            self.epoch, self.batch, self.carried = self.epoch + 1, 0, None

    @contextmanager
    def as_validated(self) -> Iterator[None]:
        """The model inside is the one that a validation sees: with averaged weights, say."""
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.enter_context(callback.around_validation(self))
            yield

    @property
    def seconds(self) -> float:
        """How long the training has taken, the part before a checkpoint included."""
        return self.seconds_before + time.perf_counter() - self.started

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What this is a training of."""
        return origin(self.optimizer, self.scheduler.schedule, self.data)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on to the bit, in a new process too."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.scheduler.state_dict(),
            "random": random.get_state(),
            "carried": detached(self.carried),
            "metrics": {name: metric.state_dict() for name, metric in self.metrics.items()},
            "callbacks": [[_kind(c), kept] for c in self.callbacks if (kept := c.state_dict())],
            "history": [dict(row) for row in self.history.rows],
            "totals": dict(vars(self.totals)),
            "origin": self.origin,
            "batches": len(self.data),
            "accumulate": self.accumulate,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as after `state_dict` returned `state`: all of it or, on an error, nothing."""
        self._check(state)
        before = self.state_dict()
        try:
            self._load(state)
        except BaseException:
            self._load(before)
            raise

    def _keeping(self) -> list[Callback]:
        return [callback for callback in self.callbacks if callback.state_dict()]

    def _check(self, state: Mapping[str, Any]) -> None:
        agree("batches in an epoch", state["batches"], len(self.data))
        agree_all(state.get("origin", {}), self.origin)
        agree("accumulate", state["accumulate"], self.accumulate)
        agree("metrics", sorted(state["metrics"]), sorted(self.metrics))
        kinds = [kind for kind, _ in state["callbacks"]]
        agree("callbacks with a state", kinds, [_kind(c) for c in self._keeping()])

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["schedule"])
        random.set_state(state["random"])
        self.carried = state["carried"]
        for name, metric in self.metrics.items():
            metric.load_state_dict(state["metrics"][name])
        for callback, (_, kept) in zip(self._keeping(), state["callbacks"], strict=True):
            callback.load_state_dict(kept)
        self.history.rows[:] = [dict(row) for row in state["history"]]
        self.totals = Totals(**state["totals"])
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.seconds_before, self.started = state["seconds"], time.perf_counter()


def _kind(callback: Callback) -> str:
    return type(callback).__name__


def _parameters(model: Module, optimizer: Optimizer) -> list[Tensor]:
    """The model's; an optimizer of others is refused, which no checkpoint would hold."""
    found: list[Tensor] = [*model.parameters()]
    own = {id(parameter) for parameter in found}
    others = {name: p.shape for name, p in optimizer.params.items() if id(p) not in own}
    if len(others) == len(optimizer.params):
        raise ValueError(
            "fit: optimizer: expected one with parameters of the model, got one of another"
        )
    if others:
        named = ", ".join(f"{name} {shape}" for name, shape in others.items())
        raise ValueError(
            f"fit: optimizer: expected parameters of the model only, got others too: {named}; "
            "make a loss's own, such as those of a CRF, part of the model"
        )
    return found
