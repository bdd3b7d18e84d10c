"""The schedule of a training: an object that steps, or a function of the step."""

import inspect
import math
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from recurra import checks
from recurra.optim import Optimizer

__all__ = ["FactorSchedule", "Scheduler"]


class FactorSchedule:
    """Multiplies the learning rates that the optimizer had first by `factor(updates so far)`."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.optimizer, self.factor = optimizer, factor
        self.bases, self.count = [float(group["lr"]) for group in _groups(optimizer)], 0
        self._set()

    def step(self) -> None:
        """Go to the next learning rate."""
        self.count += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        return {"bases": self.bases, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bases, self.count = list(state["bases"]), state["count"]

    def _set(self) -> None:
        factor = self.factor(self.count)
        for group, base in zip(_groups(self.optimizer), self.bases, strict=True):
            group["lr"] = base * factor


class Scheduler:
    """Steps a schedule when its turn comes, and refuses a learning rate that is none.

    A schedule whose `step` takes a value is given the loss (that of the validation, if there is
    one) after each epoch; any other steps after each update, or each epoch if `every` says so.
    """

    def __init__(self, schedule: Any, optimizer: Optimizer, every: str) -> None:
        checks.one_of("fit", "schedule_every", every, ("step", "epoch"))
        if schedule is not None and not hasattr(schedule, "step"):
            if not callable(schedule):
                raise TypeError(
                    "fit: schedule: expected an object with step() or a function of the step, "
                    f"got {type(schedule).__name__}"
                )
            schedule = FactorSchedule(optimizer, schedule)
        self.schedule, self.optimizer = schedule, optimizer
        self._wants_value = schedule is not None and _wants_value(schedule.step)
        self._each_epoch = self._wants_value or every == "epoch"
        self.after_update = self._step if schedule is not None and not self._each_epoch else None
        self.check()

    def after_epoch(self, loss: float) -> None:
        """The schedule's step, if it goes by epochs."""
        if self.schedule is not None and self._each_epoch:
            self._step(*[loss] if self._wants_value else [])

    def state_dict(self) -> dict[str, Any] | None:
        """The schedule's; None without one."""
        return None if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on as after `state_dict` returned `state`."""
        if (state is None) != (self.schedule is None):
            had, has = ("none" if s is None else "one" for s in (state, self.schedule))
            raise ValueError(f"fit: schedule: expected {had} as in the checkpoint, got {has}")
        if state is not None:
            self.schedule.load_state_dict(state)

    def check(self) -> None:
        """Refuse a learning rate below 0, infinite or NaN. 0 is one: nothing moves."""
        for group in _groups(self.optimizer):
            if not 0 <= group["lr"] < math.inf:
                raise ValueError(f"fit: lr: expected 0 <= lr < inf, got {group['lr']}")

    def _step(self, *value: float) -> None:
        self.schedule.step(*value)
        self.check()


def _groups(optimizer: Optimizer) -> Sequence[MutableMapping[str, Any]]:
    """The groups of parameters of an optimizer that has any; one without is a group itself."""
    groups: Sequence[MutableMapping[str, Any]] = getattr(
        optimizer, "param_groups", [vars(optimizer)]
    )
    return groups


def _wants_value(step: Callable[..., Any]) -> bool:
    parameters = inspect.signature(step).parameters.values()
    return any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )
