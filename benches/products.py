"""The matrix products of layers, on one thread and on two, beside PyTorch's if it is installed.

In float32, in turns: a linear layer forward, and forward and backward with the gradients of its
input, weights and biases. Results and gradients of both are compared first, in float64.
"""

import sys
from collections.abc import Iterator
from typing import Any

import beside
import numpy as np
from beside import Call, Row, backward, compare, torch, torch_backward

import recurra
from recurra.layers import linear

SIZES = [(2048, 128, 65), (1600, 128, 512), (3200, 256, 1024), (3200, 512, 2048)]
"""Rows and the features in and out: a character model's logits, then `B*T` steps to `G*H` gates."""


def main(arguments: list[str] | None = None) -> int:
    """Print a table of medians, and put it into a page."""
    return beside.main("products", __doc__, rows, arguments)


def rows() -> Iterator[Row]:
    """What is measured, and the same in PyTorch."""
    for size in SIZES:
        name = "{} rows, {} to {}".format(*size)
        *inputs, dy = arrays(size, np.float32)
        ours = forward(inputs), backward(linear, inputs, dy)
        theirs: tuple[Call | None, ...] = (None, None)
        if torch is not None:
            *double, dy64 = arrays(size, np.float64)
            compare(name, linear, torch.nn.functional.linear, double, dy64)
            both = torch_backward(torch.nn.functional.linear, inputs, dy)
            theirs = torch_forward(inputs), both
        yield f"forward, {name}", ours[0], theirs[0]
        yield f"and backward, {name}", ours[1], theirs[1]


def arrays(size: tuple[int, int, int], dtype: Any) -> list[np.ndarray]:
    """x, w, b and the gradient of y."""
    n, i, o = size
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((n, i), (o, i), (o,), (n, o))]


def forward(inputs: list[np.ndarray]) -> Call:
    """A call that records nothing."""
    tensors = [recurra.Tensor(a) for a in inputs]
    return lambda: linear(*tensors)


def torch_forward(inputs: list[np.ndarray]) -> Call:
    """The same in PyTorch."""
    tensors = [torch.tensor(a) for a in inputs]
    return lambda: torch.nn.functional.linear(*tensors)


if __name__ == "__main__":
    sys.exit(main())
