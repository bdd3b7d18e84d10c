"""Stochastic gradient descent."""

from collections.abc import Mapping
from typing import Any

from recurra import _core
from recurra.optim.base import Optimizer
from recurra.optim.members import Together
from recurra.optim.params import Grouped
from recurra.optim.settings import Setting
from recurra.results import Array

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent: p -= lr * g with g = grad + weight_decay * p.

    With `momentum` m > 0, v = m * v + g (at the first step v = g) takes the place of g; with
    `nesterov`, g + m * v does (Sutskever et al. 2013, as PyTorch has it).

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.SGD([w], lr=0.25).step()
    >>> w.data
    array([0.5])
    """

    momentum = Setting(float)
    nesterov = Setting(bool)
    weight_decay = Setting(float)

    def __init__(
        self,
        params: Grouped,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and not settings["momentum"]:
            raise ValueError("SGD: nesterov: expected a momentum > 0 with it, got 0")

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("velocity",) if settings["momentum"] else ()

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.sgd_step(
            values,
            grads,
            state.get("velocity"),
            settings["lr"],
            settings["momentum"],
            settings["weight_decay"],
            settings["nesterov"],
            [step == 1 for step in state["step"]],
        )
