"""The schedule of a training: an object that steps, or a function of the step."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from recurra import checks
from recurra.optim import Optimizer
from recurra.schedules import LambdaLR

__all__ = ["Scheduler", "rates_kept"]


class Scheduler:
    """Steps a schedule when its turn comes; a function is made one, a `LambdaLR`.

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
            schedule = LambdaLR(optimizer, schedule)
        if getattr(schedule, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                "fit: schedule: expected one of the optimizer that trains, got another's"
            )
        self.schedule = schedule
        self._wants_value = schedule is not None and _wants_value(schedule.step)
        self._each_epoch = self._wants_value or every == "epoch"
        self.after_update = None if schedule is None or self._each_epoch else schedule.step

    def after_epoch(self, loss: float) -> None:
        """The schedule's step, if it goes by epochs."""
        if self.schedule is not None and self._each_epoch:
            self.schedule.step(*[loss] if self._wants_value else [])

    def state_dict(self) -> dict[str, Any] | None:
        """The schedule's; None without one."""
        return None if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on as after `state_dict` returned `state`."""
        if (state is None) != (self.schedule is None):
            had, has = ("none" if s is None else "one" for s in (state, self.schedule))
            raise ValueError(f"fit: schedule: expected {had} as in the checkpoint, got {has}")
        if state is not None:
            self.schedule.load_state_dict(_current(self.schedule, state))


@contextmanager
def rates_kept(optimizer: Optimizer) -> Iterator[None]:
    """The learning rates are what they were after an error inside: a schedule sets its first."""
    before = [(group, group["lr"], group.initial_lr) for group in optimizer.param_groups]
    try:
        yield
    except BaseException:
        for group, lr, initial_lr in before:
            group["lr"], group.initial_lr = lr, initial_lr
        raise


def _current(schedule: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state that an earlier version wrote for a function, under today's names."""
    if isinstance(schedule, LambdaLR) and set(state) == {"bases", "count"}:
        return {"count": state["count"], "base_lrs": np.array(state["bases"], np.float64)}
    return state


def _wants_value(step: Callable[..., Any]) -> bool:
    parameters = inspect.signature(step).parameters.values()
    return any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )
