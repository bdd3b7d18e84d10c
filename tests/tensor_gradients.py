"""Gradients that tensors carry, against finite differences."""

from collections.abc import Callable

import numpy as np

from gradcheck import gradcheck
from recurra import Tensor


def array(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers around 0 that are the same each time."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def check_gradients(function: Callable[..., Tensor], *arrays: np.ndarray) -> None:
    """Check the gradient of `function`, from tensors to a tensor, for each argument."""
    tensors = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    result = function(*tensors)
    weight = array(*result.shape, seed=99)
    result.backward(weight)

    def loss(**moved: np.ndarray) -> float:
        return float((function(*(Tensor(a) for a in moved.values())).data * weight).sum())

    names = [f"argument {i}" for i in range(len(arrays))]
    gradients = dict(zip(names, (tensor.grad for tensor in tensors), strict=True))
    gradcheck(loss, dict(zip(names, arrays, strict=True)), gradients)
