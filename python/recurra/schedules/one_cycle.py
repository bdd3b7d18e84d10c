"""One cycle: up to a large rate and down to a tiny one, momentum the other way."""

from collections.abc import Sequence
from typing import NamedTuple

from recurra import checks
from recurra.optim.base import Optimizer
from recurra.schedules.base import Schedule, an_optimizer, per_group
from recurra.schedules.decay import cosine

__all__ = ["OneCycleLR"]


class _Phase(NamedTuple):
    """Where a phase ends, and from which to which of (initial, max, min) it goes."""

    end: float
    lr: tuple[int, int]
    momentum: tuple[int, int]
    """Of (base, max)."""


class OneCycleLR(Schedule):
    """One cycle over the whole training, of `total_steps` or `epochs` times `steps_per_epoch`.

    From max_lr / div_factor the rate rises to `max_lr` in the part `pct_start` of the steps and
    falls to max_lr / div_factor / final_div_factor until the end; with `three_phase` it first falls
    as it rose. `anneal_strategy` is "cos" or "linear". With `cycle_momentum` the momentum, or the
    first beta, goes from `max_momentum` to `base_momentum` and back. `max_lr` and the momenta may
    be sequences with one number for each group. The rate that the optimizer had is not used.

    Smith and Topin, Super-Convergence, 2018, in PyTorch's form. A step beyond the last one is a
    `ValueError`.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> optimizer = recurra.Adam([w])
    >>> schedule = recurra.schedules.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> [round(schedule.rates(count)[0], 3) for count in (0, 1, 2, 5, 9)]
    [0.04, 0.52, 1.0, 0.611, 0.0]
    >>> optimizer.beta1
    0.95
    """

    settings = (
        "max_lrs", "total_steps", "pct_start", "is_linear", "cycle_momentum", "base_momenta",
        "max_momenta", "div_factor", "final_div_factor", "three_phase",
    )  # fmt: skip

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        name = "OneCycleLR"
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        pct_start = checks.number(name, "pct_start", pct_start)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"{name}: pct_start: expected 0 <= pct_start <= 1, got {pct_start}")
        self.pct_start = pct_start
        checks.one_of(name, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.is_linear = anneal_strategy == "linear"
        self.max_lrs = per_group(name, "max_lr", max_lr, an_optimizer(name, optimizer))
        self.div_factor = checks.positive(name, "div_factor", div_factor)
        self.final_div_factor = checks.positive(name, "final_div_factor", final_div_factor)
        self.base_momenta = per_group(name, "base_momentum", base_momentum, optimizer)
        self.max_momenta = per_group(name, "max_momentum", max_momentum, optimizer)
        self.cycle_momentum = checks.flag(name, "cycle_momentum", cycle_momentum)
        self.three_phase = checks.flag(name, "three_phase", three_phase)
        if self.cycle_momentum:
            _check_momentum(optimizer)
        self._phases = self._make_phases()
        super().__init__(optimizer)

    def rate(self, base: float, count: int, group: int) -> float:
        most = self.max_lrs[group]
        initial = most / self.div_factor
        rates = (initial, most, initial / self.final_div_factor)
        phase, part = self._place(count)
        return self._between(rates[phase.lr[0]], rates[phase.lr[1]], part)

    def momentum(self, count: int, group: int) -> float | None:
        if not self.cycle_momentum:
            return None
        momenta = (self.base_momenta[group], self.max_momenta[group])
        phase, part = self._place(count)
        return self._between(momenta[phase.momentum[0]], momenta[phase.momentum[1]], part)

    def check_count(self, count: int) -> None:
        if count > self.total_steps:
            raise ValueError(
                f"OneCycleLR.step: expected at most {self.total_steps} steps, got one more"
            )

    def _make_phases(self) -> list[_Phase]:
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        rise = _Phase(peak, (0, 1), (1, 0))
        if not self.three_phase:
            return [rise, _Phase(last, (1, 2), (0, 1))]
        return [rise, _Phase(2 * peak, (1, 0), (0, 1)), _Phase(last, (0, 2), (1, 1))]

    def _place(self, count: int) -> tuple[_Phase, float]:
        """The phase of a count, and which part of it is done; after the last step, all of it."""
        start, count = 0.0, min(count, self.total_steps - 1)
        for phase in self._phases:
            if count <= phase.end:
                break
            start = phase.end
        # A phase of no length is over when it begins.
        return phase, (count - start) / (phase.end - start) if phase.end != start else 1.0

    def _between(self, start: float, end: float, part: float) -> float:
        return start + (end - start) * part if self.is_linear else cosine(start, end, part)


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        if epochs is not None or steps_per_epoch is not None:
            raise ValueError(
                "OneCycleLR: total_steps: expected it, or epochs and steps_per_epoch, got both"
            )
        return checks.size("OneCycleLR", "total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            "OneCycleLR: total_steps: expected it, or epochs and steps_per_epoch, got neither"
        )
    steps = checks.size("OneCycleLR", "steps_per_epoch", steps_per_epoch)
    return checks.size("OneCycleLR", "epochs", epochs) * steps


def _check_momentum(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        if "beta1" not in group and not group.get("momentum"):
            raise ValueError(
                f"OneCycleLR: optimizer: expected one with momentum or betas to cycle, "
                f"got {type(optimizer).__name__} without (cycle_momentum=False leaves them alone)"
            )
