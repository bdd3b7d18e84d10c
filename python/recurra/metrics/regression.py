"""Errors of predicted numbers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from recurra import checks
from recurra.metrics.base import MeanMetric, weighted_mean
from recurra.metrics.counted import Values, array_of

__all__ = ["MAE", "MAPE", "MASE", "RMSE", "SMAPE", "mae", "mape", "mase", "rmse", "smape"]


def mae(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The mean absolute error, in the unit of the targets.

    `outputs` and `targets` have one shape, as in all functions here, and so have `weights`.

    >>> from recurra.metrics import mae
    >>> mae([1.0, 2.0, 5.0], [1.0, 3.0, 3.0])
    1.0
    """
    return _mean("mae", _absolute, outputs, targets, weights)


def rmse(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The square root of the mean squared error, in the unit of the targets.

    >>> from recurra.metrics import rmse
    >>> rmse([1.0, 2.0], [4.0, 6.0])
    3.5355339059327378
    """
    return math.sqrt(_mean("rmse", _squared, outputs, targets, weights))


def mape(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The mean absolute error in percent of the target.

    A target of 0 counts 0 if it was met and is infinite otherwise.

    >>> from recurra.metrics import mape
    >>> mape([90.0, 110.0], [100.0, 100.0])
    10.0
    """
    return _mean("mape", _percent, outputs, targets, weights)


def smape(outputs: Any, targets: Any, weights: Any = None) -> float:
    """The symmetric error, 200 |y - t| / (|y| + |t|) in the mean: from 0 to 200 percent.

    Where both are 0 it counts 0 (Makridakis, the M3 and M4 competitions).

    >>> from recurra.metrics import smape
    >>> smape([1.0, 0.0], [3.0, 0.0])
    50.0
    """
    return _mean("smape", _symmetric, outputs, targets, weights)


def mase(outputs: Any, targets: Any, training: Any, season: int = 1, weights: Any = None) -> float:
    """The mean absolute error over that of repeating the last season within `training`.

    `training` (..., T) is the history, T > `season`. Below 1 is better than repeating
    (Hyndman and Koehler, Another look at measures of forecast accuracy, 2006).

    >>> from recurra.metrics import mase
    >>> mase([5.0, 7.0], [6.0, 6.0], training=[1.0, 3.0, 2.0, 5.0])
    0.5
    """
    scale = _naive_error("mase", training, season)
    return _mean("mase", _absolute, outputs, targets, weights) / scale


class MAE(MeanMetric):
    """`mae` of all batches."""

    def values(self, outputs: Values, targets: Values) -> Values:
        return _of("MAE", _absolute, outputs, targets)


class RMSE(MeanMetric):
    """`rmse` of all batches."""

    def values(self, outputs: Values, targets: Values) -> Values:
        return _of("RMSE", _squared, outputs, targets)

    def compute(self) -> float:
        """In the unit of the targets; NaN without any."""
        return math.sqrt(super().compute())


class MAPE(MeanMetric):
    """`mape` of all batches."""

    def values(self, outputs: Values, targets: Values) -> Values:
        return _of("MAPE", _percent, outputs, targets)


class SMAPE(MeanMetric):
    """`smape` of all batches."""

    def values(self, outputs: Values, targets: Values) -> Values:
        return _of("SMAPE", _symmetric, outputs, targets)


class MASE(MeanMetric):
    """`mase` of all batches, with the history `training` (..., T) given once."""

    def __init__(self, training: Any, season: int = 1) -> None:
        self.scale = _naive_error("MASE", training, season)
        super().__init__()

    def values(self, outputs: Values, targets: Values) -> Values:
        return _of("MASE", _absolute, outputs, targets)

    def compute(self) -> float:
        """Below 1 is better than repeating the last season."""
        return super().compute() / self.scale


Formula = Callable[[Values, Values], Values]


def _absolute(y: Values, t: Values) -> Values:
    error: Values = np.abs(y - t)
    return error


def _squared(y: Values, t: Values) -> Values:
    square: Values = np.square(y - t)
    return square


def _percent(y: Values, t: Values) -> Values:
    error = np.abs(y - t)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0.0, 100 * error / np.abs(t))


def _symmetric(y: Values, t: Values) -> Values:
    error, size = np.abs(y - t), np.abs(y) + np.abs(t)
    with np.errstate(invalid="ignore"):
        return np.where(size == 0, 0.0, 200 * error / size)


def _mean(operation: str, formula: Formula, outputs: Any, targets: Any, weights: Any) -> float:
    return weighted_mean(operation, _of(operation, formula, outputs, targets), weights)


def _of(operation: str, formula: Formula, outputs: Any, targets: Any) -> Values:
    y = array_of(operation, "outputs", outputs).astype(np.float64)
    t = array_of(operation, "targets", targets).astype(np.float64)
    checks.shape(operation, "outputs", y, "of the targets", t.shape)
    return formula(y, t)


def _naive_error(operation: str, training: Any, season: int) -> float:
    checks.size(operation, "season", season)
    history = array_of(operation, "training", training).astype(np.float64)
    if not history.ndim or history.shape[-1] <= season or not history.size:
        raise ValueError(
            f"{operation}: training: expected shape (..., T) with T > season = {season}, "
            f"got {history.shape}"
        )
    scale = float(np.abs(history[..., season:] - history[..., :-season]).mean())
    if not 0 < scale < math.inf:
        raise ValueError(
            f"{operation}: training: expected numbers that change from season to season, "
            f"got a mean change of {scale}"
        )
    return scale
