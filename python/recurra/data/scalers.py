"""Scaling of columns, and back: fitted on what is trained on, then applied to everything."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Values

__all__ = ["MinMaxScaler", "RobustScaler", "Scaler", "StandardScaler"]

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = int | slice | Sequence[int] | None


class Scaler:
    """`(x - center) / scale` for each column, and back. The subclasses say what the two are.

    `fit` reads values (..., F), a column per feature, or a series (N,), whose one center and scale
    then apply to arrays of any shape. Fit on the training part alone. NaN stands for a missing
    value: `fit` leaves it out, `transform` and `inverse_transform` keep it; a column of nothing
    else, and infinities, are a `ValueError`. A column of one value alone has scale 1.

    Statistics are float64. Results are new arrays of the dtype of the values, float64 for integers.

    The state is two plain arrays, for `recurra.checkpoint.save` or anything else:

    >>> import numpy as np
    >>> from recurra.data import StandardScaler
    >>> scaler = StandardScaler().fit(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> scaler.state_dict()
    {'center': array([ 2., 20.]), 'scale': array([ 1., 10.])}
    >>> again = StandardScaler()
    >>> again.load_state_dict(scaler.state_dict())
    >>> again.inverse_transform(np.array([[-1.0], [0.5]]), columns=[1])
    array([[10.], [25.]])
    """

    center: Floats | None = None
    """() or (F,): what becomes 0; None before `fit`."""
    scale: Floats | None = None
    """() or (F,): how far from it 1 is, above 0."""

    def fit(self, values: object) -> Self:
        """Take center and scale from `values`."""
        name = type(self).__name__
        array = _known(name, check.as_rows(f"{name}.fit", "values", values))
        with np.errstate(over="ignore", invalid="ignore"):
            center, scale = self._statistics(array)
        bad = np.flatnonzero(~(np.isfinite(center) & np.isfinite(scale)))
        if bad.size:
            raise ValueError(
                f"{name}.fit: values: expected numbers of a finite spread in column {bad[0]}"
            )
        self.center, self.scale = np.asarray(center), np.asarray(scale)
        return self

    def transform(self, values: object, columns: Columns = None) -> Values:
        """Scale `values` (..., F), or of the `columns` alone, as in `inverse_transform`."""
        array, center, scale = self._prepare("transform", values, columns)
        return _cast((array - center) / scale, array)

    def inverse_transform(self, values: object, columns: Columns = None) -> Values:
        """Undo `transform`, to rounding: forecasts of some columns name those in `columns`.

        A number in `columns` means that all of `values`, of any shape, belongs to that column; a
        list or slice, that its last dimension has these columns.
        """
        array, center, scale = self._prepare("inverse_transform", values, columns)
        return _cast(array * scale + center, array)

    def fit_transform(self, values: object) -> Values:
        """`fit(values)` and then `transform(values)`."""
        return self.fit(values).transform(values)

    def state_dict(self) -> dict[str, Floats]:
        """Copies of `center` and `scale`."""
        center, scale = self._fitted("state_dict")
        return {"center": center.copy(), "scale": scale.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        operation = f"{type(self).__name__}.load_state_dict"
        if set(checks.mapping(operation, "state", state)) != {"center", "scale"}:
            raise ValueError(f"{operation}: state: expected center and scale, got {sorted(state)}")
        center, scale = (np.array(state[name], np.float64) for name in ("center", "scale"))
        if center.shape != scale.shape or center.ndim > 1:
            raise ValueError(
                f"{operation}: state: expected two shapes () or (F,), "
                f"got {center.shape} and {scale.shape}"
            )
        if not (np.isfinite(center).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"{operation}: state: expected finite numbers, scale above 0")
        self.center, self.scale = center, scale

    def _statistics(self, values: Floats) -> tuple[Floats, Floats]:
        """Center, and scale above 0, over the first dimension of (n,) or (n, F) with some NaN."""
        raise NotImplementedError

    def _fitted(self, operation: str) -> tuple[Floats, Floats]:
        if self.center is None or self.scale is None:
            raise RuntimeError(f"{type(self).__name__}.{operation}: expected fit before it")
        return self.center, self.scale

    def _prepare(
        self, operation: str, values: object, columns: Columns
    ) -> tuple[Values, Floats, Floats]:
        center, scale = self._fitted(operation)
        name = f"{type(self).__name__}.{operation}"
        array = check.as_numbers(name, "values", values)
        if columns is not None:
            if center.ndim == 0:
                raise ValueError(f"{name}: columns: expected None after a series, got {columns!r}")
            if not isinstance(columns, slice):
                check.check_columns(name, "columns", columns, len(center))
            center, scale = (
                checks.element(name, "columns", each, columns, f"some of {len(each)} columns")
                for each in (center, scale)
            )
        if center.ndim and array.shape[-1:] != center.shape:
            raise ValueError(
                f"{name}: values: expected shape (..., {len(center)}), got {array.shape}"
            )
        return array, center, scale


class StandardScaler(Scaler):
    """Mean 0 and standard deviation 1 (that of the population, as in scikit-learn).

    >>> import numpy as np
    >>> from recurra.data import StandardScaler
    >>> StandardScaler().fit_transform(np.array([1.0, np.nan, 3.0]))
    array([-1., nan, 1.])
    """

    def _statistics(self, values: Floats) -> tuple[Floats, Floats]:
        # The mean of equal numbers may be off by a bit.
        least, most = _range(values)
        mean = np.clip(np.nanmean(values, axis=0), least, most)
        return mean, _scale(values, np.nanstd(values, axis=0))


class MinMaxScaler(Scaler):
    """The least value becomes `low`, the greatest `high`; others may lie outside.

    >>> import numpy as np
    >>> from recurra.data import MinMaxScaler
    >>> scaler = MinMaxScaler(-1, 1).fit(np.array([2, 4, 6]))
    >>> scaler.transform(np.array([2, 3, 8]))
    array([-1. , -0.5, 2. ])
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self.low = checks.number("MinMaxScaler", "low", low)
        self.high = checks.number("MinMaxScaler", "high", high)
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"MinMaxScaler: low: expected low < high, got {low} and {high}")

    def _statistics(self, values: Floats) -> tuple[Floats, Floats]:
        least, most = _range(values)
        scale = _scale(values, (most - least) / (self.high - self.low))
        return least - self.low * scale, scale


class RobustScaler(Scaler):
    """Median 0 and interquartile range 1: outliers in the training part hardly matter.

    >>> import numpy as np
    >>> from recurra.data import RobustScaler
    >>> RobustScaler().fit_transform(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]))
    array([ -1. , -0.5, 0. , 0.5, 498.5])
    """

    QUARTILES: ClassVar = (25, 50, 75)

    def _statistics(self, values: Floats) -> tuple[Floats, Floats]:
        low, median, high = np.nanpercentile(values, self.QUARTILES, axis=0)
        return median, _scale(values, high - low)


def _known(name: str, array: Values) -> Floats:
    """Float64 values (n,) or (n, F) with a known number in each column."""
    if array.size == 0:
        raise ValueError(f"{name}.fit: values: expected some numbers, got shape {array.shape}")
    values = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
    if np.isinf(values).any():
        raise ValueError(f"{name}.fit: values: expected finite numbers or NaN, got an infinity")
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if empty.size:
        raise ValueError(
            f"{name}.fit: values: expected a number in column {empty[0]}, got NaN only"
        )
    return values.astype(np.float64)


def _range(values: Floats) -> tuple[Floats, Floats]:
    return np.nanmin(values, axis=0), np.nanmax(values, axis=0)


def _scale(values: Floats, spread: Floats) -> Floats:
    """`spread`, but 1 for columns of one value alone, whose spread may be a rounding error."""
    least, most = _range(values)
    return np.where((least < most) & (spread > 0), spread, 1.0)


def _cast(result: Floats, like: Values) -> Values:
    return result.astype(like.dtype if like.dtype.kind == "f" else np.float64, copy=False)
