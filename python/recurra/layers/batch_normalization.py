"""Batch normalization over the valid steps of a padded batch."""

import math

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks
from recurra.autograd import Tensor, as_tensor, core_node
from recurra.layers.masks import Mask, bool_array, valid_steps
from recurra.layers.normalization import affine_of
from recurra.module import Buffer, Module, Parameter
from recurra.results import Array


class BatchNorm(Module):
    """Zero mean and unit variance of each feature over a batch (Ioffe and Szegedy 2015).

        y = (x - mean) / sqrt(variance + eps) * weight + bias        over x (..., F)

    While training, mean and variance are those of the valid places of the batch, all (b, t) of
    (B, T, F) together, and the running averages move towards them by `momentum` (None: they are
    the averages over all batches so far). After `eval()` the running averages are used. What is
    not valid is not looked at; y is 0 there.

    `weight` (F,) starts at one and `bias` (F,) at zero; `affine=False` has neither. The buffers
    `running_mean`, `running_var` (F,), of the variance divided by count - 1, and
    `num_batches_tracked` are saved and loaded with the parameters, under PyTorch's names. With
    `track_running_stats=False` there are none, and batches give the statistics always. Sums are
    taken over valid places alone, so that padding changes no bit.

    >>> import numpy as np
    >>> import recurra
    >>> layer, x = recurra.BatchNorm(1), np.array([[[1], [3], [99]]], np.float32)
    >>> layer(x, lengths=[2]).data.round(3).tolist()
    [[[-1.0], [1.0], [0.0]]]
    >>> layer.running_mean
    Buffer([0.2], dtype=float32)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = checks.size("BatchNorm", "num_features", num_features)
        self.eps = checks.within("BatchNorm", "eps", eps, 0)
        self.momentum = momentum if momentum is None else _share(momentum)
        self.dtype = checks.float_dtype("BatchNorm", dtype)
        checks.room("BatchNorm", "num_features", (6, self.num_features), self.dtype)
        one, zero = np.ones(self.num_features, self.dtype), np.zeros(self.num_features, self.dtype)
        has_affine = checks.flag("BatchNorm", "affine", affine)
        self.weight = Parameter(one) if has_affine else None
        self.bias = Parameter(zero) if has_affine else None
        self.track_running_stats = checks.flag(
            "BatchNorm", "track_running_stats", track_running_stats
        )
        if self.track_running_stats:
            self.running_mean, self.running_var = Buffer(zero), Buffer(one)
            self.num_batches_tracked = Buffer(np.zeros((), np.int64))

    def forward(self, x: Tensor | Array, lengths: object = None, mask: object = None) -> Tensor:
        """x (..., F) to y (..., F).

        `mask` (...) is True where x is valid; `lengths` (B,), integers from 0 to T, say the same
        of x (B, T, F): what lies behind is not valid. Both together: where both say so.
        """
        x = as_tensor("BatchNorm", "x", x, self.dtype)
        if x.shape[-1:] != (self.num_features,):
            raise ValueError(
                f"BatchNorm: x: expected shape (..., F) = (..., {self.num_features}), got {x.shape}"
            )
        affine_of("BatchNorm", x, self.weight, self.bias)
        valid = _valid(x.shape, lengths, mask)
        rows = x.data.reshape(math.prod(x.shape[:-1]), self.num_features)
        seen = None if valid is None else valid.ravel()
        if self.track_running_stats and not self.training:
            mean, variance, of_batch = self.running_mean.data, self.running_var.data, False
        else:
            mean, variance, of_batch = *self._of_batch(rows, seen), True
        scale = 1 / np.sqrt(variance + self.dtype.type(self.eps))
        return self._normalized(x, rows, seen, mean, scale, of_batch)

    def _normalized(
        self, x: Tensor, rows: Array, seen: Mask | None, mean: Array, scale: Array, of_batch: bool
    ) -> Tensor:
        """The node for rows (N, F), of which those are valid that are `seen` (N,)."""
        w, b = (None if given is None else given.data for given in (self.weight, self.bias))
        y = _core.batch_norm_forward(rows, seen, mean, scale, w, b)

        def backward(g: Array) -> list[Array]:
            dy = g.reshape(rows.shape)
            dx, *affine = _core.batch_norm_backward(rows, seen, mean, scale, w, dy, of_batch)
            return [dx.reshape(x.shape), *affine]

        y, parents = y.reshape(x.shape), (x, self.weight, self.bias)
        return core_node("batch_norm", (y,), parents, backward)[0]

    def describe(self) -> str:
        usual = {"eps": 1e-5, "momentum": 0.1, "track_running_stats": True}
        unusual = {
            name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]
        }
        unusual |= {} if self.weight is not None else {"affine": False}
        return ", ".join([str(self.num_features), *(f"{k}={v}" for k, v in unusual.items())])

    def _of_batch(self, rows: Array, seen: Mask | None) -> tuple[Array, Array]:
        """The mean and the variance (F,), which the running averages follow."""
        count = len(rows) if seen is None else int(seen.sum())
        if count < 2:
            raise ValueError(
                f"BatchNorm: x: expected at least two valid places for a variance, got {count}"
            )
        mean, variance = _core.batch_norm_statistics(rows, seen)
        if self.track_running_stats:
            self._track(mean, variance, count)
        return mean, variance

    def _track(self, mean: Array, variance: Array, count: int) -> None:
        self.num_batches_tracked.data += 1
        share = self.momentum
        if share is None:
            share = 1 / int(self.num_batches_tracked.data)
        unbiased = variance * (count / (count - 1))
        for buffer, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            buffer.data = (1 - share) * buffer.data + share * new


def _valid(shape: tuple[int, ...], lengths: object, mask: object) -> Mask | None:
    """True (...) where x (..., F) is valid; None is everywhere."""
    given = None if mask is None else bool_array("BatchNorm", "mask", mask, "(...)", shape[:-1])
    if lengths is None:
        return given
    if len(shape) != 3:
        raise ValueError(f"BatchNorm: x: expected shape (B, T, F) with lengths, got {shape}")
    valid = valid_steps("BatchNorm", lengths, *shape[:-1])
    return valid if given is None else valid & given


def _share(momentum: float) -> float:
    momentum = checks.number("BatchNorm", "momentum", momentum)
    if not 0 <= momentum <= 1:
        raise ValueError(f"BatchNorm: momentum: expected 0 <= momentum <= 1, got {momentum}")
    return momentum
