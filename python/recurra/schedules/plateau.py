"""A schedule that looks at a metric."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from recurra import checks
from recurra.autograd import Tensor
from recurra.optim.base import Optimizer
from recurra.optim.state import Arrays, as_arrays, form_faults, refuse, value_faults
from recurra.schedules.base import an_optimizer, per_group

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau:
    """Times `factor` when a metric has not become better for more than `patience` steps.

    `mode` "min" or "max" says which metrics are better, by more than `threshold`: as a part of the
    best one (`threshold_mode` "rel") or as it is ("abs"). After a reduction, `cooldown` steps do
    not count. No rate falls below `min_lr`, one number or one for each group, and none changes by
    `eps` or less. A metric that is NaN is not better.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.SGD([w], lr=1.0)
    >>> schedule = recurra.schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> optimizer.lr
    0.5
    """

    settings = (
        "is_max", "factor", "patience", "threshold", "is_abs", "cooldown", "min_lrs", "eps",
    )  # fmt: skip

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.optimizer = an_optimizer(name, optimizer)
        self.is_max = checks.one_of(name, "mode", mode, ("min", "max")) == "max"
        modes = ("rel", "abs")
        self.is_abs = checks.one_of(name, "threshold_mode", threshold_mode, modes) == "abs"
        self.factor = checks.within(name, "factor", factor, 0, 1)
        self.patience = checks.size(name, "patience", patience, 0)
        self.threshold = checks.within(name, "threshold", threshold, 0)
        self.cooldown = checks.size(name, "cooldown", cooldown, 0)
        self.min_lrs = per_group(name, "min_lr", min_lr, optimizer)
        self.eps = checks.within(name, "eps", eps, 0)
        self.best = -math.inf if self.is_max else math.inf
        """The best metric so far."""
        self.count = self.bad = self.cooling = 0

    def step(self, metric: float | Tensor) -> None:
        """Take in a metric; reduce the rates if it is time."""
        value = checks.number(
            "ReduceLROnPlateau.step",
            "metric",
            metric.item() if isinstance(metric, Tensor) else metric,
        )
        if len(self.min_lrs) != len(self.optimizer.param_groups):
            raise ValueError(
                f"ReduceLROnPlateau.step: optimizer: expected {len(self.min_lrs)} groups as when "
                f"the schedule was made, got {len(self.optimizer.param_groups)}"
            )
        self.count += 1
        if self.is_better(value):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.cooling:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self._reduce()
            self.cooling, self.bad = self.cooldown, 0

    def is_better(self, metric: float) -> bool:
        """Whether a metric would be the best one."""
        sign = 1 if self.is_max else -1
        margin = sign * self.threshold
        bar = self.best + margin if self.is_abs else self.best * (1 + margin)
        return metric > bar if self.is_max else metric < bar

    def state_dict(self) -> Arrays:
        """The best metric, what is counted, the rates, and settings: named arrays."""
        counted = {name: np.array(getattr(self, name)) for name in ("count", "bad", "cooling")}
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return {
            "best": np.array(self.best, np.float64),
            "lrs": np.array(rates, np.float64),
            **counted,
            **self._settings_arrays(),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` returned: all of it or, on an error, nothing.

        The rates are set, too. The settings must be the ones this schedule has.
        """
        operation = "ReduceLROnPlateau.load_state_dict"
        arrays = as_arrays(operation, state)
        faults = [*form_faults(self.state_dict(), arrays)]
        faults += value_faults(self._settings_arrays(), arrays, "this schedule")
        if not faults and not (np.isfinite(arrays["lrs"]) & (arrays["lrs"] >= 0)).all():
            got = arrays["lrs"].tolist()
            faults.append(f"lrs: expected finite numbers from 0 on, got {got}")
        refuse(operation, faults)
        self.best = float(arrays["best"])
        self.count, self.bad, self.cooling = (int(arrays[n]) for n in ("count", "bad", "cooling"))
        for group, rate in zip(self.optimizer.param_groups, arrays["lrs"].tolist(), strict=True):
            group["lr"] = rate

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, least)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate

    def _settings_arrays(self) -> Arrays:
        return {name: np.array(getattr(self, name), np.float64) for name in self.settings}
