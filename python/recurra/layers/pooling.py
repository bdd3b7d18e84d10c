"""Pooling over time: of windows that slide, or of whole rows."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks
from recurra.autograd import Tensor, as_tensor, node
from recurra.layers.masks import Mask, kept, sequence, valid_steps
from recurra.layers.windows import Window
from recurra.module import Module
from recurra.results import Array


class Pool1d(Module):
    """What `MaxPool1d` and `AvgPool1d` share: the windows.

    `kernel_size` steps make one output, the next begins `stride` (if None, `kernel_size`) steps
    later, and `padding`, at most half of `kernel_size`, stands on both sides of each row.
    """

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        name = type(self).__name__
        self.kernel_size = checks.size(name, "kernel_size", kernel_size)
        self.stride = checks.size(name, "stride", kernel_size if stride is None else stride)
        self.padding = checks.size(name, "padding", padding, 0)
        if 2 * self.padding > self.kernel_size:
            raise ValueError(
                f"{name}: padding: expected at most half of kernel_size = {self.kernel_size}, "
                f"got {self.padding}"
            )
        sides = {"left": self.padding, "right": self.padding}
        self._window = Window(self.kernel_size, self.stride, **sides)

    def output_lengths(self, lengths: object) -> NDArray[np.int64]:
        """How many outputs rows of so many steps have, for the layers that follow."""
        return self._window.output_lengths(type(self).__name__, lengths)

    def describe(self) -> str:
        stride = f", stride={self.stride}" if self.stride != self.kernel_size else ""
        padding = f", padding={self.padding}" if self.padding else ""
        return f"{self.kernel_size}{stride}{padding}"


class MaxPool1d(Pool1d):
    """The largest of each window of steps: x (B, T, C) to y (B, N, C).

    `kernel_size`, `stride` and `padding` (of minus infinity) as in PyTorch. Of equal values the
    first gets the gradient.

    >>> import numpy as np
    >>> import recurra
    >>> x = np.array([[[1.0], [5.0], [2.0], [3.0]]])
    >>> recurra.MaxPool1d(2)(x).data.ravel()
    array([5., 3.])
    """

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, C); behind `lengths` (B,) nothing is looked at, and y is 0."""
        x = as_tensor("MaxPool1d", "x", x)
        batch, steps, _ = sequence("MaxPool1d", x.data)
        window = self._window
        window.refuse_short("MaxPool1d", steps)
        valid, used = window.valid("MaxPool1d", lengths, batch, steps)
        windows = window.view(window.padded(x.data, valid, -np.inf))
        y: Array = functools.reduce(np.maximum, np.moveaxis(windows, 2, 0))

        def backward(g: Array) -> Array:
            return window.fold(_to_first(y, windows, kept(used, g)), x.data)

        return node("max_pool1d", kept(used, y), (x, backward))


class AvgPool1d(Pool1d):
    """The mean of each window of steps: x (B, T, C) to y (B, N, C).

    `kernel_size`, `stride` and `padding` (of zeros) as in PyTorch. A window divides by
    `kernel_size`, or, with `count_include_pad=False`, by its steps that are no padding. Sums are
    NumPy's additions, from the first step to the last.

    >>> import numpy as np
    >>> import recurra
    >>> x = np.array([[[1.0], [5.0], [2.0], [3.0]]])
    >>> recurra.AvgPool1d(2)(x).data.ravel()
    array([3. , 2.5])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, C); behind `lengths` (B,) nothing is looked at, and y is 0."""
        x = as_tensor("AvgPool1d", "x", x)
        batch, steps, _ = sequence("AvgPool1d", x.data)
        window = self._window
        window.refuse_short("AvgPool1d", steps)
        valid, used = window.valid("AvgPool1d", lengths, batch, steps)
        windows = window.view(window.padded(x.data, valid, 0))
        counts = self._counts(window, x.data[..., :1], valid)
        total: Array = functools.reduce(np.add, np.moveaxis(windows, 2, 0))

        def backward(g: Array) -> Array:
            each = itertools.repeat(kept(used, g) / counts, self.kernel_size)
            return kept(valid, window.fold(each, x.data))

        return node("avg_pool1d", kept(used, total / counts), (x, backward))

    def describe(self) -> str:
        return super().describe() + ("" if self.count_include_pad else ", count_include_pad=False")

    def _counts(self, window: Window, x: Array, valid: Mask | None) -> Array:
        """What each window (B, N, 1) divides by."""
        if self.count_include_pad:
            return np.asarray(self.kernel_size, x.dtype)
        steps = window.view(window.padded(np.ones_like(x), valid, 0))
        counts: Array = np.maximum(steps.sum(axis=2), 1)
        return counts


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
        batch, steps, _ = sequence("GlobalPool1d", x.data)
        ends = np.full(batch, steps) if lengths is None else np.asarray(lengths)
        counts = valid_steps("GlobalPool1d", ends, batch, steps).sum(1)
        return _MODES[self.mode](x, counts)

    def describe(self) -> str:
        return repr(self.mode)


def _to_first(y: Array, windows: Array, g: Array) -> Iterator[Array]:
    """g (B, N, C) at the first step of each window that has its largest value y, zeros after."""
    is_free = np.ones(y.shape, np.bool_)
    for step in np.moveaxis(windows, 2, 0):
        is_first = is_free & ~(step < y)  # for a NaN as well
        is_free &= ~is_first
        yield np.where(is_first, g, g.dtype.type(0))


def _last(x: Tensor, counts: NDArray[np.int64]) -> Tensor:
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
    """A product of the core with ones: the sum ascends, whatever the padding."""
    ones = np.ones((1, x.shape[1]), x.dtype)
    sums = [
        _core.linear_forward(ones[:, :n], row[:n].T)
        for row, n in zip(x.data, counts.tolist(), strict=True)
    ]
    divisor = np.maximum(counts, 1).astype(x.dtype)[:, None]

    def backward(g: Array) -> Array:
        is_valid = np.arange(x.shape[1]) < counts[:, None]
        return kept(is_valid, np.broadcast_to((g / divisor)[:, None], x.shape))

    y = np.concatenate(sums) if sums else np.zeros((0, x.shape[2]), x.dtype)
    return node("global_pool1d", y / divisor, (x, backward))


_MODES: dict[str, Callable[[Tensor, NDArray[np.int64]], Tensor]] = {
    "last": _last,
    "mean": _mean,
    "max": _max,
}
