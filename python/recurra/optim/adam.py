"""Adam and AdamW."""

from collections.abc import Mapping
from typing import Any

from recurra import _core
from recurra.optim.base import Optimizer
from recurra.optim.members import Together
from recurra.optim.params import Grouped
from recurra.optim.settings import Setting
from recurra.results import Array

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015).

        m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g g
        p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    with (b1, b2) = `betas` and g = grad + weight_decay * p. With `amsgrad` the largest v so far
    takes the place of v under the root (Reddi, Kale and Kumar, On the Convergence of Adam and
    Beyond, 2018).

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Adam([w], lr=0.25).step()
    >>> w.data.round(6)
    array([0.75])
    """

    beta1 = Setting(float, high=1, argument="betas[0]")
    beta2 = Setting(float, high=1, argument="betas[1]")
    eps = Setting(float)
    weight_decay = Setting(float)
    amsgrad = Setting(bool, implied=True)

    decoupled = False

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )

    def moments(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("m", "v", "v_max") if settings["amsgrad"] else ("m", "v")

    def update(
        self,
        values: list[Array],
        grads: list[Array],
        settings: Mapping[str, Any],
        state: Together,
    ) -> None:
        _core.adam_step(
            values,
            grads,
            state["m"],
            state["v"],
            state.get("v_max"),
            settings["lr"],
            settings["beta1"],
            settings["beta2"],
            settings["eps"],
            settings["weight_decay"],
            self.decoupled,
            state["step"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: p -= lr * weight_decay * p, apart from the gradient.

    Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.AdamW([w], lr=0.25, weight_decay=0.4).step()
    >>> w.data.round(6)
    array([0.65])
    """

    decoupled = True

    def __init__(
        self,
        params: Grouped,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
