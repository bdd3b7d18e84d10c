"""Pooling of windows that slide over time."""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.autograd import Tensor, as_tensor, node
from recurra.layers.masks import Mask, kept, sequence
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
        windows = window.view(window.padded("MaxPool1d", x.data, valid, -np.inf))
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
        self.count_include_pad = checks.flag("AvgPool1d", "count_include_pad", count_include_pad)

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, C); behind `lengths` (B,) nothing is looked at, and y is 0."""
        x = as_tensor("AvgPool1d", "x", x)
        batch, steps, _ = sequence("AvgPool1d", x.data)
        window = self._window
        window.refuse_short("AvgPool1d", steps)
        valid, used = window.valid("AvgPool1d", lengths, batch, steps)
        windows = window.view(window.padded("AvgPool1d", x.data, valid, 0))
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
        steps = window.view(window.padded("AvgPool1d", np.ones_like(x), valid, 0))
        counts: Array = np.maximum(steps.sum(axis=2), 1)
        return counts


def _to_first(y: Array, windows: Array, g: Array) -> Iterator[Array]:
    """g (B, N, C) at the first step of each window that has its largest value y, zeros after."""
    is_free = np.ones(y.shape, np.bool_)
    for step in np.moveaxis(windows, 2, 0):
        is_first = is_free & ~(step < y)  # for a NaN as well
        is_free &= ~is_first
        yield np.where(is_first, g, g.dtype.type(0))
