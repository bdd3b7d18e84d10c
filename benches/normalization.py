"""Softmax, normalization and attention on one thread and on two, beside PyTorch if installed.

Forward and backward in float32, in turns; results and gradients of both libraries are compared
first, in float64. Attention gives its weights, which PyTorch's fused function does not.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import beside
import numpy as np
from beside import Row, backward, compare, torch, torch_backward

import recurra
from recurra import ops
from recurra.layers import scaled_dot_product_attention

SIZES = [(8, 50, 64), (32, 100, 128)]
QUERIES = 8
"""Of additive attention, for which PyTorch keeps B Q K H numbers."""
ADDITIVE = f"additive attention of {QUERIES} queries"

Case = tuple[str, Callable[..., Any], Callable[..., Any] | None, list[np.ndarray]]
"""A name, a function of recurra's tensors, one of PyTorch's and what both are called with."""


def main(arguments: list[str] | None = None) -> int:
    """Print a table of medians, and put it into a page."""
    return beside.main("normalization", __doc__, rows, arguments)


def rows() -> Iterator[Row]:
    """What is measured, and the same in PyTorch."""
    for size in SIZES:
        single = cases(size, np.float32)
        for case, (name, *double) in zip(single, cases(size, np.float64), strict=True):
            _, ours, theirs, inputs = case
            if theirs is None:
                yield name, backward(ours, inputs), None
            else:
                compare(name, *double)
                yield name, backward(ours, inputs), torch_backward(theirs, inputs)


def cases(size: tuple[int, int, int], dtype: Any) -> Iterator[Case]:
    """All of one size."""
    B, T, H = size
    rng = np.random.default_rng(0)
    x, key, value = (rng.standard_normal(size).astype(dtype) for _ in range(3))
    lengths = rng.integers(T // 2, T + 1, B)
    mask, query = np.arange(T) < lengths[:, None], x[:, :QUERIES]
    norm, batch = recurra.LayerNorm(H, dtype=dtype), recurra.BatchNorm(H, dtype=dtype)
    additive = recurra.AdditiveAttention(H, H, H, dtype=dtype)
    peers = torch_cases(norm, batch, additive, mask) if torch is not None else {}
    dot = scaled_dot_product_attention
    for name, function, inputs in (
        ("softmax", ops.softmax, [x]),
        ("log-softmax", ops.log_softmax, [x]),
        ("LayerNorm", norm, [x]),
        ("BatchNorm", batch, [x]),
        ("BatchNorm of lengths", lambda x: batch(x, lengths), [x]),
        ("dot-product attention", lambda *a: dot(*a)[0], [x, key, value]),
        ("the same, fused in PyTorch", lambda *a: dot(*a)[0], [x, key, value]),
        ("the same, of lengths", lambda *a: dot(*a, lengths)[0], [x, key, value]),
        (ADDITIVE, lambda *a: additive(*a)[0], [query, key, value]),
    ):
        yield f"{name} B{B} T{T} H{H}", function, peers.get(name), inputs


def torch_cases(norm: Any, batch: Any, additive: Any, mask: np.ndarray) -> dict[str, Any]:
    """The functions of PyTorch by their names."""
    seen = torch.tensor(mask)
    names = ("query_layer.weight", "key_layer.weight", "weight")
    w, u, v = (torch.tensor(additive.state_dict()[n], requires_grad=True) for n in names)
    layer = torch.nn.LayerNorm(norm.features, dtype=v.dtype)
    peer = torch.nn.BatchNorm1d(batch.num_features, dtype=v.dtype)

    def of_lengths(x: Any) -> Any:
        y = torch.zeros_like(x)
        y[seen] = peer(x[seen])
        return y

    def attend(q: Any, k: Any, v: Any, hidden: Any = None) -> Any:
        scores = torch.bmm(q * q.shape[2] ** -0.5, k.mT)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        return torch.bmm(scores.softmax(-1), v)

    def add(q: Any, k: Any, values: Any) -> Any:
        hidden = torch.tanh((q @ w.T)[:, :, None] + (k @ u.T)[:, None])
        return torch.bmm((hidden @ v).softmax(-1), values)

    return {
        "softmax": lambda x: x.softmax(-1),
        "log-softmax": lambda x: x.log_softmax(-1),
        "LayerNorm": layer,
        "BatchNorm": lambda x: peer(x.flatten(0, 1)).view_as(x),
        "BatchNorm of lengths": of_lengths,
        "dot-product attention": attend,
        "the same, fused in PyTorch": torch.nn.functional.scaled_dot_product_attention,
        "the same, of lengths": lambda *a: attend(*a, ~seen[:, None]),
        ADDITIVE: add,
    }


if __name__ == "__main__":
    sys.exit(main())
