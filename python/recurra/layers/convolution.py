"""Convolution over time: windows become rows of a matrix product of the core."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recurra import _core, checks, random
from recurra.autograd import Tensor, as_tensor, fused_node
from recurra.layers.masks import kept, sequence
from recurra.layers.windows import Window
from recurra.module import Module, Parameter
from recurra.results import Array


class Conv1d(Module):
    """Convolution over time: x (B, T, I) to y (B, N, O).

    `weight` (O, I / groups, K) with K = `kernel_size` and `bias` (O,) have PyTorch's shapes and
    initial values, evenly spread within 1 / sqrt(K I / groups). As there, nothing is reversed in
    time: with stride 1 and no padding, y[b, t, o] = bias[o] + the sum over i, k of
    weight[o, i, k] x[b, t + k dilation, i].

    `padding` is a number of zero steps on both sides, or "valid" (none), "same" (N = T; stride 1
    only), or "causal" (before the first step alone: y at t sees nothing later than t). With
    `groups`, output channels see the input channels of their group alone; groups = I is the
    depthwise convolution.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.Conv1d(8, 16, kernel_size=3, padding="same")
    >>> layer(np.ones((2, 10, 8), np.float32)).shape
    (2, 10, 16)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.in_channels = checks.size("Conv1d", "in_channels", in_channels)
        self.out_channels = checks.size("Conv1d", "out_channels", out_channels)
        self.groups = checks.size("Conv1d", "groups", groups)
        self._refuse_uneven_groups()
        has_bias = checks.flag("Conv1d", "bias", bias)
        self.padding = padding
        self._window = _window(
            checks.size("Conv1d", "kernel_size", kernel_size),
            checks.size("Conv1d", "stride", stride),
            checks.size("Conv1d", "dilation", dilation),
            padding,
        )
        shape = (self.out_channels, self.in_channels // self.groups, self._window.kernel)
        bound, kind = 1 / math.sqrt(shape[1] * shape[2]), checks.float_dtype("Conv1d", dtype)
        self.weight = Parameter(random.uniform(shape, -bound, bound, kind))
        self.bias = Parameter(random.uniform(shape[0], -bound, bound, kind)) if has_bias else None

    def forward(self, x: Tensor | Array, lengths: object = None) -> Tensor:
        """x (B, T, I) to y (B, N, O).

        With `lengths` (B,), integers from 0 to T, each row has the outputs that it has without
        the steps behind its length, and zeros behind those: see `output_lengths`.
        """
        return _conv1d(x, self.weight, self.bias, self._window, self.groups, lengths)

    def output_lengths(self, lengths: object) -> NDArray[np.int64]:
        """How many outputs rows of so many steps have, for the layers that follow.

        >>> import recurra
        >>> recurra.Conv1d(8, 16, kernel_size=3, stride=2).output_lengths([10, 3, 2, 0])
        array([4, 1, 0, 0])
        """
        return self._window.output_lengths("Conv1d", lengths)

    def describe(self) -> str:
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        found = {
            "stride": self._window.stride,
            "padding": self.padding,
            "dilation": self._window.dilation,
            "groups": self.groups,
        }
        unusual = {name: value for name, value in found.items() if value != usual[name]}
        unusual |= {} if self.bias is not None else {"bias": False}
        sizes = f"{self.in_channels}, {self.out_channels}, {self._window.kernel}"
        return ", ".join([sizes, *(f"{name}={value!r}" for name, value in unusual.items())])

    def _refuse_uneven_groups(self) -> None:
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"Conv1d: {name}: expected a multiple of groups = {self.groups}, "
                    f"got {getattr(self, name)}"
                )


def _window(kernel: int, stride: int, dilation: int, padding: int | str) -> Window:
    if isinstance(padding, str):
        checks.one_of("Conv1d", "padding", padding, ("valid", "same", "causal"))
    else:
        checks.size("Conv1d", "padding", padding, 0, bits=60)
    if padding == "same" and stride != 1:
        raise ValueError(f"Conv1d: stride: expected 1 with padding='same', got {stride}")
    # With room to add: lengths of outputs are computed in 64 bits.
    room = checks.size("Conv1d", "dilation * (kernel_size - 1)", dilation * (kernel - 1), 0, 60)
    sides = {"valid": (0, 0), "same": (room // 2, room - room // 2), "causal": (room, 0)}
    left, right = sides[padding] if isinstance(padding, str) else (padding, padding)
    return Window(kernel, stride, dilation, left, right)


def _conv1d(
    x: Tensor | Array,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    lengths: object,
) -> Tensor:
    x = as_tensor("Conv1d", "x", x, weight.dtype)
    batch, steps, _ = sequence("Conv1d", x.data, weight.shape[1] * groups)
    window.refuse_short("Conv1d", steps)
    valid, used = window.valid("Conv1d", lengths, batch, steps)
    windows = window.view(window.padded("Conv1d", x.data, valid, 0))
    rows, w = _rows(windows, groups), _matrices(weight.data, groups)
    y = _products(rows, w, None if bias is None else bias.data)
    y = y.reshape(batch, windows.shape[1], len(weight))

    def backward(g: Array) -> tuple[Array, ...]:
        dwindows, dw, db = _gradients(rows, w, kept(used, g), window.kernel)
        dx = window.fold(np.moveaxis(dwindows, 2, 0), x.data)
        dw = dw.reshape(len(weight), window.kernel, weight.shape[1]).transpose(0, 2, 1)
        return (kept(valid, dx), dw, db)[: len(parents)]

    parents = [parent for parent in (x, weight, bias) if parent is not None]
    return fused_node("conv1d", (kept(used, y),), parents, backward)[0]


def _rows(windows: Array, groups: int) -> list[Array]:
    """Windows (B, N, K, I) as rows (B*N, K*I/groups) of each group."""
    parts = np.split(windows, groups, axis=3)
    return [part.reshape(math.prod(part.shape[:2]), math.prod(part.shape[2:])) for part in parts]


def _matrices(weight: Array, groups: int) -> Array:
    """The weight (O, I/groups, K) as matrices (groups, O/groups, K*I/groups)."""
    return weight.transpose(0, 2, 1).reshape(groups, len(weight) // groups, -1)


def _products(rows: list[Array], w: Array, bias: Array | None) -> Array:
    """The outputs (B*N, O)."""
    b = [None] * len(w) if bias is None else np.split(bias, len(w))
    parts = [_core.linear_forward(*group) for group in zip(rows, w, b, strict=True)]
    return _joined(parts, 1)


def _gradients(rows: list[Array], w: Array, g: Array, kernel: int) -> tuple[Array, Array, Array]:
    """For the gradient g (B, N, O): those of the windows (B, N, K, I), of w and of the bias."""
    slices = np.split(g.reshape(math.prod(g.shape[:2]), g.shape[2]), len(w), axis=1)
    found = [_core.linear_backward(*group) for group in zip(rows, w, slices, strict=True)]
    dx, dw, db = zip(*found, strict=True)
    shape = (*g.shape[:2], kernel, rows[0].shape[1] // kernel)
    dwindows = _joined([part.reshape(shape) for part in dx], 3)
    return dwindows, _joined(dw, 0), _joined(db, 0)


def _joined(parts: Sequence[Array], axis: int) -> Array:
    """The groups beside each other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)
