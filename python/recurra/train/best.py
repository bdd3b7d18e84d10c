"""The best epoch so far, by one number of the history."""

import math
from typing import Any

from recurra import checks

__all__ = ["Best"]


class Best:
    """Whether an epoch is better than all before: `monitor` by more than `min_delta`.

    `monitor` is a name of the history; None is the validation's loss, or that of the training
    where there is no validation. `mode` says whether "min" or "max" is best. NaN is never better.

    >>> from recurra.train.best import Best
    >>> best = Best("test", None, "min")
    >>> [best.improved({"loss": loss}) for loss in (3.0, 2.0, float("nan"), 2.5, 1.0)]
    [True, True, False, False, True]
    """

    def __init__(
        self, operation: str, monitor: str | None, mode: str, min_delta: float = 0.0
    ) -> None:
        self.operation, self.monitor = operation, monitor
        self.mode = checks.one_of(operation, "mode", mode, ("min", "max"))
        self.min_delta = checks.within(operation, "min_delta", min_delta, 0)
        self.reset()

    def reset(self) -> None:
        """Forget all epochs."""
        self.value, self.epoch = math.nan, 0

    def improved(self, row: dict[str, Any]) -> bool:
        """Whether `row` is the best so far; it is remembered if so."""
        value = self._value(row)
        gain = self.value - value if self.mode == "min" else value - self.value
        if math.isnan(value) or not (math.isnan(self.value) or gain > self.min_delta):
            return False
        self.value, self.epoch = value, int(row.get("epoch", 0))
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.epoch = state["value"], state["epoch"]

    def _value(self, row: dict[str, Any]) -> float:
        default = "validation_loss" if "validation_loss" in row else "loss"
        name = self.monitor or default
        if not isinstance(row.get(name), float | int):
            numbers = [name for name, value in row.items() if isinstance(value, float | int)]
            raise ValueError(
                f"{self.operation}: monitor: expected one of {', '.join(numbers)}, got {name!r}"
            )
        return float(row[name])
