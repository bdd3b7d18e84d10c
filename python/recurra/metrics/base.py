"""What all metrics share: accumulators with a state, and the weighted mean."""

from typing import Any, ClassVar

import numpy as np

from recurra import checks
from recurra.data import Batch
from recurra.losses.reduction import as_weights
from recurra.metrics.counted import Values, counted

__all__ = ["MeanMetric", "Metric", "weighted_mean"]


class Metric:
    """A number, or an array, about all batches since `reset`.

    A metric of your own names its accumulators in `state` with their values at the start, adds to
    them in `update` and evaluates them in `compute`:

    >>> import numpy as np
    >>> from recurra.data import Batch
    >>> from recurra.metrics import Metric
    >>> class Rows(Metric):
    ...     state = {"rows": 0}
    ...
    ...     def update(self, outputs, batch):
    ...         self.rows += len(batch.targets)
    ...
    ...     def compute(self):
    ...         return self.rows
    >>> rows = Rows()
    >>> rows.update(None, Batch(None, np.zeros(3)))
    >>> rows.compute(), rows.state_dict()
    (3, {'rows': 3})
    """

    state: ClassVar[dict[str, Any]] = {}
    """The accumulators and their first values, which are replaced and never changed in place."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        vars(self).update(self.state)

    def update(self, outputs: Any, batch: Batch) -> None:
        """Take in a batch and what the model put out for it."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def compute(self) -> Any:
        """The metric of all batches; NaN before the first."""
        raise NotImplementedError(f"{type(self).__name__}.compute")

    def state_dict(self) -> dict[str, Any]:
        """The accumulators, to go on from."""
        return {name: getattr(self, name) for name in self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as after `state_dict` returned `state`."""
        if set(state) != set(self.state):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: state: expected {sorted(self.state)}, "
                f"got {sorted(state)}"
            )
        vars(self).update(state)


class MeanMetric(Metric):
    """The weighted mean of a value of each target."""

    state: ClassVar[dict[str, Any]] = {"total": 0.0, "weight": 0.0}
    total: float
    weight: float

    def values(self, outputs: Values, targets: Values) -> Values:
        """The value of each target."""
        raise NotImplementedError(f"{type(self).__name__}.values")

    def update(self, outputs: Any, batch: Batch) -> None:
        found, targets, weights = counted(type(self).__name__, outputs, batch)
        values = self.values(found, targets)
        weights = np.ones(values.shape) if weights is None else weights
        self.total += float(np.sum(values * weights, dtype=np.float64))
        self.weight += float(np.sum(weights, dtype=np.float64))

    def compute(self) -> float:
        """The mean; NaN without any target."""
        return self.total / self.weight if self.weight else float("nan")


def weighted_mean(operation: str, values: Values, weights: Any) -> float:
    """The mean of `values`, weighted; NaN without any."""
    factors = (
        np.ones(values.shape) if weights is None else as_weights(operation, "weights", weights)
    )
    checks.shape(operation, "weights", factors, "of the targets", values.shape)
    total = float(factors.sum())
    return float(np.sum(values * factors, dtype=np.float64)) / total if total else float("nan")
