"""Step sizes from the squares of gradients: RMSprop, Adagrad and Adadelta."""

from collections.abc import Mapping
from typing import Any

from recurra import _core
from recurra.autograd import Tensor
from recurra.optim.base import Optimizer
from recurra.optim.members import State, Together
from recurra.optim.params import Grouped
from recurra.optim.settings import Setting
from recurra.results import Array

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6, 2012).

        v = alpha v + (1 - alpha) g g        p -= lr g / (sqrt(v) + eps)

    with g = grad + weight_decay * p. `centered` subtracts the square of a moving average of g from
    v under the root (Graves, Generating Sequences With Recurrent Neural Networks, 2013); a result
    below zero counts as zero. With `momentum` m > 0, b = m * b + g / (sqrt(v) + eps) takes the
    place of the quotient.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.RMSprop([w], lr=0.25, alpha=0.75).step()
    >>> w.data.round(6)
    array([0.5])
    """

    alpha = Setting(float, high=1)
    eps = Setting(float)
    weight_decay = Setting(float)
    momentum = Setting(float)
    centered = Setting(bool, implied=True)

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        average = ("average",) if settings["centered"] else ()
        return ("v", *average, *(("velocity",) if settings["momentum"] else ()))

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.rmsprop_step(
            values,
            grads,
            state["v"],
            state.get("average"),
            state.get("velocity"),
            settings["lr"],
            settings["alpha"],
            settings["eps"],
            settings["weight_decay"],
            settings["momentum"],
            settings["centered"],
        )


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, Adaptive Subgradient Methods, 2011).

        s += g g        p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    with g = grad + weight_decay * p; s begins with `initial_accumulator_value`.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Adagrad([w], lr=0.25).step()
    >>> w.data.round(6)
    array([0.75])
    """

    lr_decay = Setting(float)
    weight_decay = Setting(float)
    initial_accumulator_value = Setting(float)
    eps = Setting(float)

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def fresh_state(self, parameter: Tensor, settings: Mapping[str, Any]) -> State:
        fresh = super().fresh_state(parameter, settings)
        fresh["sum"][...] = settings["initial_accumulator_value"]
        return fresh

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.adagrad_step(
            values,
            grads,
            state["sum"],
            settings["lr"],
            settings["lr_decay"],
            settings["eps"],
            settings["weight_decay"],
            state["step"],
        )


class Adadelta(Optimizer):
    """Adadelta (Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012).

        v = rho v + (1 - rho) g g        d = sqrt(u + eps) / sqrt(v + eps) g
        u = rho u + (1 - rho) d d        p -= lr d

    with g = grad + weight_decay * p.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Adadelta([w], rho=0.75).step()
    >>> w.data.round(6)
    array([0.998])
    """

    rho = Setting(float, high=1)
    eps = Setting(float)
    weight_decay = Setting(float)

    def __init__(
        self,
        params: Grouped,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return "v", "u"

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.adadelta_step(
            values,
            grads,
            state["v"],
            state["u"],
            settings["lr"],
            settings["rho"],
            settings["eps"],
            settings["weight_decay"],
        )
