"""Windows that slide over time, for convolution and pooling."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from recurra import checks
from recurra.layers.masks import Mask, kept, valid_steps
from recurra.results import Array


class Window(NamedTuple):
    """`kernel` steps, `dilation` apart, that move on by `stride` over x (B, T, C).

    Before and behind each row stand `left` and `right` steps of padding.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    left: int = 0
    right: int = 0

    @property
    def span(self) -> int:
        """Steps from the first to the last of a window."""
        return self.dilation * (self.kernel - 1) + 1

    def outputs(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many windows fit on rows of so many steps; none on an empty row."""
        fit = (steps + (self.left + self.right - self.span)) // self.stride + 1
        return np.where(steps > 0, np.maximum(fit, 0), 0)

    def output_lengths(self, operation: str, lengths: object) -> NDArray[np.int64]:
        """`outputs` of integers that a user gives."""
        array = np.asarray(lengths)
        if array.ndim != 1:
            raise ValueError(f"{operation}: lengths: expected shape (B,), got {array.shape}")
        return self.outputs(checks.index_array(operation, "lengths", array, 2**62))

    def valid(
        self, operation: str, lengths: object, batch: int, steps: int
    ) -> tuple[Mask | None, Mask | None]:
        """Which steps (B, T) lie before a row's length, and which windows (B, N) it has."""
        if lengths is None:
            return None, None
        valid = valid_steps(operation, lengths, batch, steps)
        count = self.outputs(np.array([steps]))
        return valid, np.arange(count[0]) < self.outputs(valid.sum(1))[:, None]

    def refuse_short(self, operation: str, steps: int) -> None:
        """Refuse x (B, T, C) on which no window fits."""
        least = max(1, self.span - self.left - self.right)
        if steps < least:
            raise ValueError(
                f"{operation}: x: expected at least {least} time steps for a window of "
                f"{self.span}, got T = {steps}"
            )

    def padded(self, operation: str, x: Array, valid: Mask | None, fill: float) -> Array:
        """x with its padding: `fill` there, and where a step is not valid (B, T)."""
        batch, steps, channels = x.shape
        if valid is None and not (self.left or self.right):
            return x
        shape = (batch, self.left + steps + self.right, channels)
        out = checks.room(operation, "padding", shape, x.dtype)
        out.fill(fill)
        out[:, self.left : self.left + steps] = kept(valid, x, fill)
        return out

    def view(self, padded: Array) -> Array:
        """A read-only view (B, N, K, C) of the N windows; its memory overlaps."""
        batch, steps, channels = padded.shape
        over_b, over_t, over_c = padded.strides
        # What goes beyond the row is never taken: as a number of bytes it may be too large.
        stride, dilation = min(self.stride, steps), min(self.dilation, steps)
        return as_strided(
            padded,
            (batch, (steps - self.span) // self.stride + 1, self.kernel, channels),
            (over_b, over_t * stride, over_t * dilation, over_c),
            writeable=False,
        )

    def fold(self, gradients: Iterable[Array], x: Array) -> Array:
        """The gradient of x (B, T, C) for those (B, N, C) of the K steps of its windows."""
        batch, steps, channels = x.shape
        total = np.zeros((batch, self.left + steps + self.right, channels), x.dtype)
        for k, g in enumerate(gradients):
            first = k * self.dilation
            total[:, first : first + (g.shape[1] - 1) * self.stride + 1 : self.stride] += g
        return total[:, self.left : self.left + steps]
