"""Schedules made of schedules: one after the other, and one on top of the other."""

from bisect import bisect_right
from collections.abc import Sequence

from recurra import checks
from recurra.optim.base import Optimizer
from recurra.optim.state import Arrays
from recurra.schedules.base import Schedule
from recurra.schedules.decay import ascending

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Combined(Schedule):
    """Its parts are asked for their rates, never stepped; their count stays 0."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule]) -> None:
        name = type(self).__name__
        self.schedulers = checks.items(name, "schedulers", schedulers, "schedules")
        if not self.schedulers:
            raise ValueError(f"{name}: schedulers: expected at least one, got none")
        for i, part in enumerate(self.schedulers):
            if not isinstance(part, Schedule):
                raise TypeError(
                    f"{name}: schedulers[{i}]: expected a schedule of the count alone, "
                    f"got {type(part).__name__}"
                )
            if part.optimizer is not optimizer:
                raise ValueError(
                    f"{name}: schedulers[{i}]: expected one of the same optimizer, got another's"
                )
        super().__init__(optimizer)

    def settings_arrays(self) -> Arrays:
        own = super().settings_arrays()
        for i, part in enumerate(self.schedulers):
            own |= {f"{i}.{name}": array for name, array in part.settings_arrays().items()}
        return own


class SequentialLR(_Combined):
    """One schedule after the other: the next takes over at each of the `milestones`, from its 0 on.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.schedules import ExponentialLR, LinearLR, SequentialLR
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.SGD([w], lr=1.0)
    >>> warmup, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.5)
    >>> schedule = SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> [schedule.rates(count)[0] for count in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    settings = ("milestones",)

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        self.milestones = ascending("SequentialLR", milestones)
        schedulers = checks.items("SequentialLR", "schedulers", schedulers, "schedules")
        if len(self.milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: milestones: expected one less than schedules, "
                f"{len(schedulers) - 1}, got {len(self.milestones)}"
            )
        super().__init__(optimizer, schedulers)

    def rate(self, base: float, count: int, group: int) -> float:
        part, count = self._place(count)
        return part.rate(base, count, group)

    def momentum(self, count: int, group: int) -> float | None:
        part, count = self._place(count)
        return part.momentum(count, group)

    def check_count(self, count: int) -> None:
        part, count = self._place(count)
        part.check_count(count)

    def _place(self, count: int) -> tuple[Schedule, int]:
        i = bisect_right(self.milestones, count)
        return self.schedulers[i], count - (self.milestones[i - 1] if i else 0)


class ChainedScheduler(_Combined):
    """All schedules at once: the rate of each is the base of the next, so that factors multiply.

    Where a part has an `eta_min` or a rate of its own, the order counts: the rates remain functions
    of the count, which PyTorch's then are not.

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.schedules import ChainedScheduler, ExponentialLR, StepLR
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.SGD([w], lr=1.0)
    >>> parts = [ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2, 0.1)]
    >>> schedule = ChainedScheduler(optimizer, parts)
    >>> [round(schedule.rates(count)[0], 4) for count in range(4)]
    [1.0, 0.5, 0.025, 0.0125]
    """

    def rate(self, base: float, count: int, group: int) -> float:
        for part in self.schedulers:
            base = part.rate(base, count, group)
        return base

    def momentum(self, count: int, group: int) -> float | None:
        momenta = [part.momentum(count, group) for part in self.schedulers]
        return next((m for m in reversed(momenta) if m is not None), None)

    def check_count(self, count: int) -> None:
        for part in self.schedulers:
            part.check_count(count)
