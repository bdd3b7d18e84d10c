"""Variants of Adam: NAdam, RAdam and Adamax."""

from collections.abc import Mapping
from typing import Any

from recurra import _core
from recurra.autograd import Tensor
from recurra.optim.base import Optimizer
from recurra.optim.members import State, Together
from recurra.optim.params import Grouped
from recurra.optim.settings import Setting
from recurra.results import Array

__all__ = ["Adamax", "NAdam", "RAdam"]


class NAdam(Optimizer):
    """NAdam: Adam that looks ahead (Dozat, Incorporating Nesterov Momentum into Adam, 2016).

        mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)
        d = (1 - mu_t) / (1 - mu_1 ... mu_t) g + mu_t+1 / (1 - mu_1 ... mu_t+1) m
        p -= lr d / (sqrt(v / (1 - b2^t)) + eps)

    with Adam's m and v, and g = grad + weight_decay * p; with `decoupled_weight_decay` instead
    p -= lr * weight_decay * p first.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.NAdam([w], lr=0.25).step()
    >>> w.data.round(4)
    array([0.7359])
    """

    beta1 = Setting(float, high=1, argument="betas[0]")
    beta2 = Setting(float, high=1, argument="betas[1]")
    eps = Setting(float)
    weight_decay = Setting(float)
    momentum_decay = Setting(float)
    decoupled_weight_decay = Setting(bool)

    def __init__(
        self,
        params: Grouped,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return "m", "v"

    def fresh_state(self, parameter: Tensor, settings: Mapping[str, Any]) -> State:
        return super().fresh_state(parameter, settings) | {"mu_product": 1.0}

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        state["mu_product"] = _core.nadam_step(
            values,
            grads,
            state["m"],
            state["v"],
            settings["lr"],
            settings["beta1"],
            settings["beta2"],
            settings["eps"],
            settings["weight_decay"],
            settings["momentum_decay"],
            settings["decoupled_weight_decay"],
            state["step"],
            state["mu_product"],
        )


class RAdam(Optimizer):
    """RAdam: Adam without its second moment as long as that rests on too few gradients.

    Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020, as PyTorch has it.
    `weight_decay` goes through the gradient, or with `decoupled_weight_decay` by
    p -= lr * weight_decay * p.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.RAdam([w], lr=0.25).step()
    >>> w.data.round(6)
    array([0.5])
    """

    beta1 = Setting(float, high=1, argument="betas[0]")
    beta2 = Setting(float, high=1, argument="betas[1]")
    eps = Setting(float)
    weight_decay = Setting(float)
    decoupled_weight_decay = Setting(bool)

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return "m", "v"

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.radam_step(
            values,
            grads,
            state["m"],
            state["v"],
            settings["lr"],
            settings["beta1"],
            settings["beta2"],
            settings["eps"],
            settings["weight_decay"],
            settings["decoupled_weight_decay"],
            state["step"],
        )


class Adamax(Optimizer):
    """Adamax: Adam with the largest gradient of late in place of the second moment's root.

        u = max(b2 u, |g| + eps)        p -= lr / (1 - b1^t) m / u

    with Adam's m and g = grad + weight_decay * p (Kingma and Ba, Adam: A Method for Stochastic
    Optimization, 2015, section 7.1).

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Adamax([w], lr=0.25).step()
    >>> w.data.round(6)
    array([0.75])
    """

    beta1 = Setting(float, high=1, argument="betas[0]")
    beta2 = Setting(float, high=1, argument="betas[1]")
    eps = Setting(float)
    weight_decay = Setting(float)

    def __init__(
        self,
        params: Grouped,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return "m", "u"

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.adamax_step(
            values,
            grads,
            state["m"],
            state["u"],
            settings["lr"],
            settings["beta1"],
            settings["beta2"],
            settings["eps"],
            settings["weight_decay"],
            state["step"],
        )
