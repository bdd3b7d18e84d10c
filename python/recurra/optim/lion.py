"""Lion."""

from collections.abc import Mapping
from typing import Any

from recurra import _core
from recurra.optim.base import Optimizer
from recurra.optim.members import Together
from recurra.optim.params import Grouped
from recurra.optim.settings import Setting
from recurra.results import Array

__all__ = ["Lion"]


class Lion(Optimizer):
    """Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023).

        p -= lr * weight_decay * p
        p -= lr sign(b1 m + (1 - b1) grad)
        m = b2 m + (1 - b2) grad

    with (b1, b2) = `betas`. Every element moves by `lr`, which is why the paper takes it 3 to 10
    times smaller than AdamW's, and the weight decay as much larger.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Lion([w], lr=0.25).step()
    >>> w.data
    array([0.75])
    """

    beta1 = Setting(float, high=1, argument="betas[0]")
    beta2 = Setting(float, high=1, argument="betas[1]")
    weight_decay = Setting(float)

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("m",)

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.lion_step(
            values,
            grads,
            state["m"],
            settings["lr"],
            settings["beta1"],
            settings["beta2"],
            settings["weight_decay"],
        )
