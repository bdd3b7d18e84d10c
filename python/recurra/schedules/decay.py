"""Schedules that go one way: steps, exponential, cosine, linear warm-up."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from recurra import _core, checks
from recurra.optim.base import Optimizer
from recurra.schedules.base import Schedule, an_optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "StepLR",
]


class StepLR(Schedule):
    """Times `gamma` after every `step_size` steps.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.SGD([w], lr=1.0)
    >>> schedule = recurra.schedules.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> optimizer.lr
    0.25
    """

    settings = ("step_size", "gamma")

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = checks.size("StepLR", "step_size", step_size)
        self.gamma = checks.within("StepLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return base * _core.pow(self.gamma, count // self.step_size)


class MultiStepLR(Schedule):
    """Times `gamma` at each of the `milestones`, numbers of steps in ascending order.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> schedule = recurra.schedules.MultiStepLR(recurra.SGD([w], lr=1.0), [2, 3], gamma=0.5)
    >>> [schedule.rates(count)[0] for count in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    settings = ("milestones", "gamma")

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = ascending("MultiStepLR", milestones)
        self.gamma = checks.within("MultiStepLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return base * _core.pow(self.gamma, bisect_right(self.milestones, count))


class ExponentialLR(Schedule):
    """Times `gamma` with each step.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> recurra.schedules.ExponentialLR(recurra.SGD([w], lr=1.0), gamma=0.5).rates(3)
    [0.125]
    """

    settings = ("gamma",)

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = checks.within("ExponentialLR", "gamma", gamma, 0)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return base * _core.pow(self.gamma, count)


class LinearLR(Schedule):
    """Warm-up (or cool-down): from `start_factor` to `end_factor` in `total_iters` steps.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> schedule = recurra.schedules.LinearLR(recurra.SGD([w], lr=1.0), 0.5, total_iters=2)
    >>> [schedule.rates(count)[0] for count in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    settings = ("start_factor", "end_factor", "total_iters")

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor = checks.within("LinearLR", "start_factor", start_factor, 0)
        self.end_factor = checks.within("LinearLR", "end_factor", end_factor, 0)
        self.total_iters = checks.size("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        done = min(count, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class ConstantLR(Schedule):
    """Times `factor` in the first `total_iters` steps, unchanged after them.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> schedule = recurra.schedules.ConstantLR(recurra.SGD([w], lr=1.0), 0.5, total_iters=2)
    >>> [schedule.rates(count)[0] for count in range(4)]
    [0.5, 0.5, 1.0, 1.0]
    """

    settings = ("factor", "total_iters")

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor = checks.within("ConstantLR", "factor", factor, 0)
        self.total_iters = checks.size("ConstantLR", "total_iters", total_iters)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return base * (self.factor if count < self.total_iters else 1.0)


class CosineAnnealingLR(Schedule):
    """Half a cosine down to `eta_min` in `T_max` steps, up again in as many, and so on.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> schedule = recurra.schedules.CosineAnnealingLR(recurra.SGD([w], lr=1.0), T_max=3)
    >>> [round(schedule.rates(count)[0], 6) for count in range(4)]
    [1.0, 0.75, 0.25, 0.0]
    """

    settings = ("T_max", "eta_min")

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = checks.size("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = checks.within("CosineAnnealingLR", "eta_min", eta_min, 0)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return cosine(base, self.eta_min, count / self.T_max)


class CosineAnnealingWarmRestarts(Schedule):
    """Half a cosine down to `eta_min` in `T_0` steps, then from the start, `T_mult` times longer.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.SGD([w], lr=1.0)
    >>> schedule = recurra.schedules.CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
    >>> [round(schedule.rates(count)[0], 2) for count in range(7)]
    [1.0, 0.5, 1.0, 0.85, 0.5, 0.15, 1.0]
    """

    settings = ("T_0", "T_mult", "eta_min")

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0
    ) -> None:
        name = "CosineAnnealingWarmRestarts"
        self.T_0 = checks.size(name, "T_0", T_0)
        self.T_mult = checks.size(name, "T_mult", T_mult)
        self.eta_min = checks.within(name, "eta_min", eta_min, 0)
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        length = self.T_0
        if self.T_mult == 1:
            count %= length
        while count >= length:
            count -= length
            length *= self.T_mult
        return cosine(base, self.eta_min, count / length)


class LambdaLR(Schedule):
    """Times `factor(count)`: a function of your own, or one for each group.

    The function is not part of a saved state.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> schedule = recurra.schedules.LambdaLR(recurra.SGD([w], lr=1.0), lambda n: 1 / (1 + n))
    >>> schedule.rates(3)
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        groups = len(an_optimizer("LambdaLR", optimizer).param_groups)
        given = [factor] * groups if callable(factor) else factor
        self.factors: list[Callable[[int], float]] = checks.items(
            "LambdaLR", "factor", given, "functions"
        )
        if len(self.factors) != groups:
            got = len(self.factors)
            raise ValueError(f"LambdaLR: factor: expected {groups} functions, got {got}")
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        return base * self.factors[group](count)


def ascending(operation: str, milestones: Sequence[int]) -> list[int]:
    """Milestones: counts from 1 on, in ascending order."""
    given = checks.items(operation, "milestones", milestones, "numbers of steps")
    checked = [checks.size(operation, "milestones", m) for m in given]
    if checked != sorted(checked):
        raise ValueError(f"{operation}: milestones: expected an ascending order, got {checked}")
    return checked


def cosine(start: float, end: float, part: float) -> float:
    """From `start` to `end` along half a cosine, of which `part` is done."""
    return end + (start - end) * (1 + _core.cos(math.pi * part)) / 2
