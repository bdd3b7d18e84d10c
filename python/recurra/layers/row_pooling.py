"""Pooling of whole rows over time, to one vector or to a number that is given."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks, ops
from recurra.autograd import Tensor, as_tensor, node
from recurra.layers.masks import kept, sequence, valid_steps
from recurra.layers.windows import Window
from recurra.module import Module
from recurra.results import Array


class GlobalPool1d(Module):
    """One vector for each row: the "last" step, or the "mean" or "max" over its steps.

    x (B, T, C) to y (B, C). A row of length 0 gives zeros.

    >>> import numpy as np
    >>> import recurra
    >>> x = np.array([[[1.0], [5.0], [99.0]]])
    >>> [recurra.GlobalPool1d(kind)(x, lengths=[2]).item() for kind in ("last", "mean", "max")]
    [5.0, 3.0, 5.0]
    """

    def __init__(self, mode: str) -> None:
        self.mode = checks.one_of("GlobalPool1d", "mode", mode, tuple(_MODES))

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, C), of which only what lies before `lengths` (B,) counts."""
        x = as_tensor("GlobalPool1d", "x", x)
        return _MODES[self.mode](x, _counts("GlobalPool1d", x, lengths))

    def output_lengths(self, lengths: object) -> None:
        """None: there is no time axis behind it."""

    def describe(self) -> str:
        return repr(self.mode)


class AdaptiveAvgPool1d(Module):
    """The means of `output_size` = N parts of each row: x (B, T, C) to y (B, N, C).

    Part i goes from step i T / N, rounded down, to (i + 1) T / N, rounded up, as in PyTorch: parts
    of short rows overlap. T is a row's own length. A row of length 0 gives zeros.

    >>> import numpy as np
    >>> import recurra
    >>> x = np.array([[[1.0], [3.0], [5.0], [7.0], [99.0]]])
    >>> recurra.AdaptiveAvgPool1d(2)(x, lengths=[4]).data.ravel()
    array([2., 6.])
    """

    def __init__(self, output_size: int) -> None:
        self.output_size = checks.size("AdaptiveAvgPool1d", "output_size", output_size)

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, C), of which only what lies before `lengths` (B,) counts."""
        x = as_tensor("AdaptiveAvgPool1d", "x", x)
        return _means(x, _counts("AdaptiveAvgPool1d", x, lengths), self.output_size)

    def output_lengths(self, lengths: object) -> NDArray[np.int64]:
        """N for each row of any length but 0, for the layers that follow.

        >>> import recurra
        >>> recurra.AdaptiveAvgPool1d(6).output_lengths([10, 3, 0])
        array([6, 6, 0])
        """
        steps = Window(1).output_lengths("AdaptiveAvgPool1d", lengths)
        return np.where(steps > 0, self.output_size, 0)

    def describe(self) -> str:
        return str(self.output_size)


def _last(x: Tensor, counts: NDArray[np.int64]) -> Tensor:
    if x.shape[1] and (counts == x.shape[1]).all():  # a view: no gather, and none back
        return x[:, -1]
    rows = np.flatnonzero(counts)
    return _picked(x, (rows, counts[rows] - 1), rows)


def _max(x: Tensor, counts: NDArray[np.int64]) -> Tensor:
    rows = np.flatnonzero(counts)
    is_valid = np.arange(x.shape[1]) < counts[rows, None]
    best = kept(is_valid, x.data[rows], -np.inf).argmax(axis=1)
    return _picked(x, (rows[:, None], best, np.arange(x.shape[2])), rows)


def _picked(x: Tensor, at: tuple[NDArray[np.int64], ...], rows: NDArray[np.int64]) -> Tensor:
    """y (B, C) with x[at] at `rows`."""
    y = np.zeros((x.shape[0], x.shape[2]), x.dtype)
    y[rows] = x.data[at]

    def backward(g: Array) -> Array:
        dx = np.zeros(x.shape, x.dtype)
        dx[at] = g[rows]
        return dx

    return node("global_pool1d", y, (x, backward))


def _mean(x: Tensor, counts: NDArray[np.int64]) -> Tensor:
    y = _means(x, counts, 1)
    return ops.reshape(y, (len(y), x.shape[2]))


def _means(x: Tensor, counts: NDArray[np.int64], parts: int) -> Tensor:
    """The means (B, N, C) of N parts of each row: products of the core with ones, which ascend."""
    ones = np.ones((1, x.shape[1]), x.dtype)
    steps, shape = counts.tolist(), (len(x), parts, x.shape[2])
    y = checks.room("AdaptiveAvgPool1d", "output_size", shape, x.dtype)
    y.fill(0)
    for out, row, n in zip(y, x.data, steps, strict=True):
        for i, (a, b) in enumerate(_bounds(n, parts)):
            out[i] = _core.linear_forward(ones[:, a:b], row[a:b].T)[0] / x.dtype.type(b - a)

    def backward(g: Array) -> Array:
        dx = np.zeros(x.shape, x.dtype)
        for out, dy, n in zip(dx, g, steps, strict=True):
            for each, (a, b) in zip(dy, _bounds(n, parts), strict=False):  # an empty row has none
                out[a:b] += each / x.dtype.type(b - a)
        return dx

    return node("means_over_time", y, (x, backward))


def _bounds(steps: int, parts: int) -> Iterator[tuple[int, int]]:
    """Where part i begins and ends: i T / N rounded down, (i + 1) T / N rounded up."""
    count = parts if steps else 0
    return ((i * steps // parts, -(-(i + 1) * steps // parts)) for i in range(count))


def _counts(operation: str, x: Tensor, lengths: object) -> NDArray[np.int64]:
    """The lengths of the rows of x (B, T, C)."""
    batch, steps, _ = sequence(operation, x.data)
    if lengths is None:
        return np.full(batch, steps)
    counts: NDArray[np.int64] = valid_steps(operation, lengths, batch, steps).sum(1)
    return counts


_MODES: dict[str, Callable[[Tensor, NDArray[np.int64]], Tensor]] = {
    "last": _last,
    "mean": _mean,
    "max": _max,
}
