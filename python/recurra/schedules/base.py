"""What the schedules share: a count, and a rate that depends on it alone."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from recurra import checks
from recurra.optim.base import Optimizer
from recurra.optim.settings import Group
from recurra.optim.state import Arrays, as_arrays, form_faults, refuse, value_faults

__all__ = ["Schedule", "an_optimizer", "per_group"]


class Schedule:
    """Sets each group's `lr` from its base and the number of steps so far, and from nothing else.

    The base is what the group's `lr` was when the first schedule was made. Making a schedule sets
    the rates of count 0; `step()` after each step, or epoch, of the training sets the next ones.
    """

    settings: tuple[str, ...] = ()
    """The attributes that a saved state must agree with."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = an_optimizer(type(self).__name__, optimizer)
        self.count = 0
        """The number of steps."""
        self.base_lrs = [_initial_lr(group) for group in optimizer.param_groups]
        self._apply()

    def rate(self, base: float, count: int, group: int) -> float:
        """The `lr` of the group with that number and base after `count` steps."""
        raise NotImplementedError

    def momentum(self, count: int, group: int) -> float | None:
        """The momentum (or first beta) after `count` steps; None leaves it alone."""
        return None

    def check_count(self, count: int) -> None:
        """Refuse a count that is beyond the schedule's end."""

    def rates(self, count: int) -> list[float]:
        """Each group's `lr` after `count` steps; nothing is changed."""
        return [self.rate(base, count, i) for i, base in enumerate(self.base_lrs)]

    def step(self) -> None:
        """Count one step, and set what belongs to the new count."""
        self.check_count(self.count + 1)
        if len(self.base_lrs) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{type(self).__name__}.step: optimizer: expected {len(self.base_lrs)} groups as "
                f"when the schedule was made, got {len(self.optimizer.param_groups)}"
            )
        self.count += 1
        self._apply()

    def state_dict(self) -> Arrays:
        """The count, the base of each group, and settings: named arrays."""
        bases = np.array(self.base_lrs, np.float64)
        return {"count": np.array(self.count), "base_lrs": bases, **self.settings_arrays()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over count and bases, and set the rates: all or, on an error, nothing.

        The settings must be the ones this schedule has.
        """
        operation = f"{type(self).__name__}.load_state_dict"
        arrays, own = as_arrays(operation, state), self.state_dict()
        faults = [*form_faults(own, arrays)]
        faults += value_faults(self.settings_arrays(), arrays, "this schedule")
        if not faults and arrays["count"] < 0:
            faults.append(f"count: expected a number from 0 on, got {arrays['count']}")
        if not faults and not (np.isfinite(arrays["base_lrs"]) & (arrays["base_lrs"] >= 0)).all():
            got = arrays["base_lrs"].tolist()
            faults.append(f"base_lrs: expected finite numbers from 0 on, got {got}")
        refuse(operation, faults)
        self.count, self.base_lrs = int(arrays["count"]), arrays["base_lrs"].tolist()
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group.initial_lr = base
        self._apply()

    def settings_arrays(self) -> Arrays:
        """The settings of this schedule and of those that it is made of."""
        return {name: np.array(getattr(self, name), np.float64) for name in self.settings}

    def _apply(self) -> None:
        for i, (group, rate) in enumerate(
            zip(self.optimizer.param_groups, self.rates(self.count), strict=True)
        ):
            group["lr"] = rate
            value = self.momentum(self.count, i)
            if value is not None:
                name = "beta1" if "beta1" in group else "momentum"
                self.optimizer.varying.add(name)
                group[name] = value


def _initial_lr(group: Group) -> float:
    if group.initial_lr is None:
        group.initial_lr = group["lr"]
    return group.initial_lr


def an_optimizer(operation: str, value: object) -> Optimizer:
    """`value` if it is an optimizer."""
    if isinstance(value, Optimizer):
        return value
    raise TypeError(f"{operation}: optimizer: expected an Optimizer, got {type(value).__name__}")


def per_group(
    operation: str, argument: str, value: float | Sequence[float], optimizer: Optimizer
) -> list[float]:
    """One finite number from 0 on for each group, from one for all or a sequence."""
    groups = len(optimizer.param_groups)
    given = list(value) if isinstance(value, Sequence) else [value] * groups
    values = [checks.number(operation, argument, v) for v in given]
    if len(values) != groups:
        raise ValueError(f"{operation}: {argument}: expected {groups} numbers, got {len(values)}")
    if faults := [*_not_rates(values)]:
        raise ValueError(
            f"{operation}: {argument}: expected finite numbers from 0 on, got {faults[0]}"
        )
    return values


def _not_rates(values: Sequence[float]) -> Iterator[float]:
    return (v for v in values if not 0 <= v < float("inf"))
