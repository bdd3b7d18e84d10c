"""Batch normalization over the valid steps of a padded batch."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks
from recurra.autograd import Tensor, as_tensor, fused_node
from recurra.layers.masks import Mask, bool_array, valid_steps
from recurra.layers.normalization import Scaled, check_affine, shifted, standardized
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
    NumPy's.

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
        one, zero = np.ones(self.num_features, self.dtype), np.zeros(self.num_features, self.dtype)
        self.weight = Parameter(one) if affine else None
        self.bias = Parameter(zero) if affine else None
        self.track_running_stats = bool(track_running_stats)
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
        valid = _valid(x.shape, lengths, mask)
        use_averages = self.track_running_stats and not self.training
        normalize = self._of_averages if use_averages else self._of_batch
        return _on_valid(x, valid, self.weight, self.bias, normalize)

    def describe(self) -> str:
        usual = {"eps": 1e-5, "momentum": 0.1, "track_running_stats": True}
        unusual = {
            name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]
        }
        unusual |= {} if self.weight is not None else {"affine": False}
        return ", ".join([str(self.num_features), *(f"{k}={v}" for k, v in unusual.items())])

    def _of_averages(self, rows: Array) -> Scaled:
        mean, variance = self.running_mean.data, self.running_var.data
        return shifted(rows, mean, variance, self.weight, self.bias, self.eps)

    def _of_batch(self, rows: Array) -> Scaled:
        if len(rows) < 2:
            raise ValueError(
                f"BatchNorm: x: expected at least two valid places for a variance, got {len(rows)}"
            )
        result = standardized(rows, 0, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._track(result, len(rows))
        return result

    def _track(self, result: Scaled, count: int) -> None:
        self.num_batches_tracked.data += 1
        share = self.momentum
        if share is None:
            share = 1 / int(self.num_batches_tracked.data)
        unbiased = result.variance[0] * (count / (count - 1))
        for buffer, new in ((self.running_mean, result.mean[0]), (self.running_var, unbiased)):
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


def _on_valid(
    x: Tensor,
    valid: Mask | None,
    weight: Tensor | None,
    bias: Tensor | None,
    normalize: Callable[[Array], Scaled],
) -> Tensor:
    """The node that normalizes the valid rows of x, and leaves the others at zero."""
    check_affine("BatchNorm", x, weight, bias)
    result = normalize(_rows(x.data, valid))

    def backward(g: Array) -> list[Array]:
        rows, *affine = result.backward(_rows(g, valid))
        return [_places(rows, valid, x.shape), *affine]

    parents = [parent for parent in (x, weight, bias) if parent is not None]
    return fused_node("batch_norm", (_places(result.y, valid, x.shape),), parents, backward)[0]


def _rows(a: Array, valid: Mask | None) -> Array:
    """The valid ones (N, F) of a (..., F)."""
    count = math.prod(a.shape[:-1])
    return a.reshape(count, a.shape[-1]) if valid is None else a[valid]


def _places(rows: Array, valid: Mask | None, shape: tuple[int, ...]) -> Array:
    """The rows (N, F) at the valid places of zeros (..., F)."""
    if valid is None:
        return rows.reshape(shape)
    whole = np.zeros(shape, rows.dtype)
    whole[valid] = rows
    return whole


def _share(momentum: float) -> float:
    if not 0 <= momentum <= 1:
        raise ValueError(f"BatchNorm: momentum: expected 0 <= momentum <= 1, got {momentum}")
    return float(momentum)
