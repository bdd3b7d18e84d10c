"""Windows of a series, to forecast what comes after them."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Values

__all__ = ["create_sequences", "sliding_windows"]

Columns: TypeAlias = int | slice | Sequence[int] | None


def create_sequences(
    values: object,
    window: int,
    horizon: int = 1,
    *,
    stride: int = 1,
    gap: int = 0,
    target_columns: Columns = None,
) -> tuple[Values, Values]:
    """Cut a series into inputs (n, T, F) of `T` = `window` steps and the steps that follow them.

    `values` is (N,) or (N, F), a step a row. Window i begins at step `i * stride`; its targets are
    the `horizon` steps that begin `gap` steps after its end. They have every column, (n, horizon,
    F); those that a slice or a list of numbers in `target_columns` names; or one alone, (n,
    horizon), for a single number. A series (N,) makes inputs (n, T, 1) and targets (n, horizon).

    Both are views of `values` that cannot be written to, whatever their number: only the columns
    that a list names are copied, once. A series shorter than `window + gap + horizon` is a
    `ValueError`.

    >>> import numpy as np
    >>> from recurra.data import create_sequences
    >>> inputs, targets = create_sequences(np.arange(6), window=3, horizon=2)
    >>> inputs[..., 0]
    array([[0, 1, 2], [1, 2, 3]])
    >>> targets
    array([[3, 4], [4, 5]])
    """
    operation = "create_sequences"
    series = check.as_rows(operation, "values", values)
    if series.ndim > 2:
        raise ValueError(f"{operation}: values: expected (N,) or (N, F), got shape {series.shape}")
    window = checks.size(operation, "window", window)
    horizon = checks.size(operation, "horizon", horizon)
    gap, stride = checks.size(operation, "gap", gap, 0), checks.size(operation, "stride", stride)
    count = len(series) - window - gap - horizon + 1
    if count < 1:
        raise ValueError(
            f"{operation}: values: expected at least window + gap + horizon = "
            f"{window + gap + horizon} steps, got {len(series)}"
        )
    answers = _columns(operation, series, target_columns)
    inputs = series if series.ndim == 2 else series[:, None]
    return (
        _windows(inputs, window)[:count:stride],
        _windows(answers[window + gap :], horizon)[:count:stride],
    )


def sliding_windows(values: object, window: int, stride: int = 1) -> Values:
    """Every `stride`-th window of `window` steps of a series (N, ...): a view (n, window, ...).

    >>> import numpy as np
    >>> from recurra.data import sliding_windows
    >>> sliding_windows(np.arange(5), window=3, stride=2)
    array([[0, 1, 2], [2, 3, 4]])
    """
    series = check.as_rows("sliding_windows", "values", values)
    window = checks.size("sliding_windows", "window", window)
    stride = checks.size("sliding_windows", "stride", stride)
    if len(series) < window:
        raise ValueError(
            f"sliding_windows: values: expected at least window = {window} steps, got {len(series)}"
        )
    return _windows(series, window)[::stride]


def _windows(series: Values, window: int) -> Values:
    # NumPy puts the steps of a window last: they go to the second place, features stay contiguous.
    return np.moveaxis(sliding_window_view(series, window, axis=0), -1, 1)


def _columns(operation: str, series: Values, columns: Columns) -> Values:
    if columns is None:
        return series
    if series.ndim == 1:
        raise ValueError(
            f"{operation}: target_columns: expected None for values (N,), got {columns}"
        )
    if not isinstance(columns, slice):
        check.check_columns(operation, "target_columns", columns, series.shape[1])
    wanted = f"columns of {series.shape}"
    chosen: Values = checks.element(operation, "target_columns", series, np.s_[:, columns], wanted)
    if chosen.ndim == 2 and chosen.shape[1] == 0:
        raise ValueError(
            f"{operation}: target_columns: expected at least one, got {checks.brief(columns)}"
        )
    return chosen
