"""How training went, and what came out of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recurra import checks
from recurra.plots.canvas import (
    axes,
    colour_bar,
    image,
    name_ticks,
    numbers,
    on_whole_numbers,
    read_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion_matrix", "forecast", "history"]


def history(
    history: Mapping[str, Sequence[float | None]],
    ax: "Axes | None" = None,
    *,
    steps: ArrayLike | None = None,
) -> "Axes":
    """A curve for each name: losses or metrics by epoch, counted from 1, or at `steps`.

    Of what `recurra.train.fit` returns, the losses and the metrics that are one number an epoch
    (`recurra.train.History.curves`); of any other mapping, everything. The lists may differ in
    length, and None or NaN leaves a gap. With `steps`, each is as long as these.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> ax = plots.history({"loss": [3.0, 2.0], "f1": [None, 0.5]}, Figure().subplots())
    >>> ax.lines[0].get_xdata().tolist(), ax.lines[1].get_ydata().tolist()
    ([1.0, 2.0], [nan, 0.5])
    """
    from recurra.train.history import History  # only now: it brings all of training

    given = history.curves() if isinstance(history, History) else history
    curves = {name: numbers("history", name, list(v), "(N,)") for name, v in given.items()}
    x = None if steps is None else numbers("history", "steps", steps, "(N,)")
    for name, y in curves.items():
        if x is not None and len(x) != len(y):
            raise ValueError(f"history: {name}: expected {len(x)} values, one a step, got {len(y)}")
    (ax,) = axes("history", ax)
    for name, y in curves.items():
        ax.plot(np.arange(1.0, len(y) + 1) if x is None else x, y, marker=".", label=name)
    ax.set_xlabel("epoch" if x is None else "step")
    ax.grid(alpha=0.3)
    if x is None:
        on_whole_numbers(ax.xaxis)
    if curves:
        ax.legend()
    return ax


def forecast(
    predicted: ArrayLike,
    ax: "Axes | None" = None,
    *,
    intervals: Mapping[float, tuple[ArrayLike, ArrayLike]] | None = None,
    past: ArrayLike | None = None,
    actual: ArrayLike | None = None,
) -> "Axes":
    """A forecast (T,) of the steps 1 to T, with what was known before and what came.

    `intervals` maps a probability, such as 0.9, to the lower and the upper bounds (T,) between
    which the values lie with it; `past` (N,) ends at step 0; `actual` (T,) is what came.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> intervals = {0.9: ([0.5, 0.0], [1.5, 2.0])}
    >>> ax = plots.forecast([1.0, 1.0], Figure().subplots(), intervals=intervals, past=[0.0, 1.0])
    >>> [line.get_label() for line in ax.lines], ax.collections[0].get_label()
    (['past', 'forecast'], '90 %')
    """
    y = numbers("forecast", "predicted", predicted, "(T,)")
    bounds = {level: _bounds(level, pair, len(y)) for level, pair in (intervals or {}).items()}
    came = None if actual is None else _as_long("actual", actual, len(y))
    known = None if past is None else numbers("forecast", "past", past, "(N,)")
    (ax,) = axes("forecast", ax)
    x = np.arange(1.0, len(y) + 1)
    for level, (low, high) in sorted(bounds.items(), reverse=True):  # the widest lies at the back
        ax.fill_between(x, low, high, alpha=0.25, color="C1", lw=0, label=f"{100 * level:g} %")
    if known is not None:
        ax.plot(np.arange(1.0 - len(known), 1), known, color="C0", label="past")
    if came is not None:
        ax.plot(x, came, color="C0", linestyle="--", label="actual")
    ax.plot(x, y, color="C1", label="forecast")
    ax.set_xlabel("steps from the last known value")
    on_whole_numbers(ax.xaxis)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def confusion_matrix(
    counts: ArrayLike,
    ax: "Axes | None" = None,
    *,
    labels: Sequence[object] | None = None,
    normalize: str = "none",
) -> "Axes":
    """How often class i (row) was taken for class j (column): `counts` (C, C), with names.

    `normalize` divides each row by its sum ("true": the diagonal is the recall), each column
    ("predicted": the precision), or everything by the total ("all"); "none" shows the counts. A
    row or column without any is NaN.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> ax = plots.confusion_matrix([[3, 1], [0, 2]], Figure().subplots(), normalize="true")
    >>> [text.get_text() for text in ax.texts]
    ['0.75', '0.25', '0.00', '1.00']
    """
    matrix = numbers("confusion_matrix", "counts", counts, "(C, C)")
    C = len(matrix)
    checks.shape("confusion_matrix", "counts", matrix, "(C, C)", (C, C))
    checks.one_of("confusion_matrix", "normalize", normalize, ("none", "true", "predicted", "all"))
    names = read_names("confusion_matrix", "labels", labels, C)
    shares = _normalized(matrix, normalize)
    (ax,) = axes("confusion_matrix", ax)
    name_ticks(ax.xaxis, names)
    name_ticks(ax.yaxis, names)
    shown = image(ax, shares, cmap="Blues", aspect="equal")
    colour_bar(ax, shown)
    middle = np.nanmax(shares, initial=0) / 2
    for (i, j), value in np.ndenumerate(shares):
        text = f"{value:g}" if normalize == "none" else f"{value:.2f}"
        ax.text(j, i, text, ha="center", va="center", color="w" if value > middle else "k")
    ax.set(xlabel="predicted", ylabel="true")
    return ax


def _normalized(matrix: NDArray[np.float64], normalize: str) -> NDArray[np.float64]:
    if normalize == "none":
        return matrix
    axis = {"true": 1, "predicted": 0, "all": None}[normalize]
    total = matrix.sum(axis=axis, keepdims=True)
    found: NDArray[np.float64] = matrix / np.where(total == 0, np.nan, total)
    return found


def _as_long(argument: str, value: ArrayLike, length: int) -> NDArray[np.float64]:
    array = numbers("forecast", argument, value, "(T,)")
    checks.shape("forecast", argument, array, "(T,)", (length,))
    return array


def _bounds(
    level: float, pair: tuple[ArrayLike, ArrayLike], length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not 0 < level < 1:
        raise ValueError(
            f"forecast: intervals: expected probabilities between 0 and 1, got {level}"
        )
    low, high = (_as_long(f"intervals[{level:g}]", bound, length) for bound in pair)
    if (low > high).any():
        at = int(np.argmax(low > high))
        raise ValueError(
            f"forecast: intervals[{level:g}]: expected lower bounds, then upper ones, got "
            f"{low[at]:g} above {high[at]:g} at {at}"
        )
    return low, high
