"""Arrays that lie in memory in other ways: layers take them by their indices."""

from collections.abc import Callable

import numpy as np
import pytest

import recurra
from recurra import ops


@pytest.mark.parametrize("make", [
    lambda x: x.astype(np.float32)[::-1, ::2].swapaxes(0, 1),
    lambda x: np.asfortranarray(x.astype(np.float32)),
    lambda x: np.broadcast_to(x.astype(np.float32)[:1], x.shape),
])  # fmt: skip
def test_any_strides_give_the_same_bits(make: Callable[[np.ndarray], np.ndarray]) -> None:
    x = make(np.random.default_rng(0).normal(size=(4, 6, 4)))
    for layer in (
        *(recurra.GRU(4, 5), recurra.Linear(4, 5), recurra.Conv1d(4, 5, 2), recurra.LayerNorm(4)),
        *(recurra.BatchNorm(4), recurra.GlobalPool1d("mean"), recurra.MultiheadAttention(4, 2)),
    ):
        found, wanted = layer(x), layer(np.ascontiguousarray(x))
        pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
        for a, b in pairs:
            assert a.data.tobytes() == b.data.tobytes(), layer


def test_gradients_of_any_order_are_taken_by_their_indices() -> None:
    """The transpose of an array (C, T, B) is in Fortran's order, as is the gradient of one."""
    rng = np.random.default_rng(0)
    x, factors = rng.normal(size=(4, 3, 2)), rng.normal(size=(5, 3, 2))
    layer = recurra.Linear(4, 5, dtype=np.float64)
    found = []
    for whole in (x.T, np.ascontiguousarray(x.T)):
        leaf = recurra.Tensor(whole, requires_grad=True)
        layer.zero_grad()
        (ops.transpose(layer(leaf)) * factors).sum().backward()
        found.append(
            (leaf.grad, layer.weight.grad, layer.bias.grad if layer.bias is not None else None)
        )
    wanted = np.einsum("otb,oi->bti", factors, layer.weight.data)
    for dx, dw, db in found:
        np.testing.assert_allclose(dx, wanted, rtol=1e-12)
        np.testing.assert_allclose(dw, np.einsum("otb,itb->oi", factors, x), rtol=1e-12)
        np.testing.assert_allclose(db, factors.sum((1, 2)), rtol=1e-12)
