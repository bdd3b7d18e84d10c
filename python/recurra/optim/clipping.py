"""Clipping of gradients, between `backward` and the optimizer's step."""

from collections.abc import Iterable

from recurra import _core, checks
from recurra.autograd import Tensor
from recurra.optim.params import Parameters, named
from recurra.results import Array

__all__ = ["clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(params: Parameters, max_norm: float) -> float:
    """Scale all gradients together so that their norm is at most `max_norm`; the norm before.

    The norm is the square root of the sum of all squares; the factor is
    max_norm / (norm + 1e-6) where that is below 1, which is PyTorch's. A norm that is infinite or
    NaN is returned, too, and makes gradients NaN: look at it before the optimizer's step.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
    >>> w.grad = np.array([3.0, 4.0])
    >>> recurra.clip_grad_norm([w], max_norm=1.0)
    5.0
    >>> w.grad.round(4)
    array([0.6, 0.8])
    """
    checks.within("clip_grad_norm", "max_norm", max_norm, 0)
    members = named("clip_grad_norm", params).values()
    norm = _core.grad_norm([p.grad for p in members if p.grad is not None])
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # true for NaN, too
        _core.scale_(_writable(members), factor)
    return norm


def clip_grad_value(params: Parameters, clip_value: float) -> None:
    """Bring every element of the gradients into -clip_value..clip_value. NaN stays NaN.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.zeros(3), requires_grad=True)
    >>> w.grad = np.array([3.0, 0.1, -4.0])
    >>> recurra.clip_grad_value([w], clip_value=0.5)
    >>> w.grad
    array([ 0.5,  0.1, -0.5])
    """
    checks.within("clip_grad_value", "clip_value", clip_value, 0)
    _core.clamp_(_writable(named("clip_grad_value", params).values()), clip_value)


def _writable(params: Iterable[Tensor]) -> list[Array]:
    """The gradients; one that the caller assigned, perhaps not to be changed, is copied."""
    grads = []
    for p in params:
        if p.grad is not None:
            if not p.grad.flags.carray:
                p.grad = p.grad.copy()
            grads.append(p.grad)
    return grads
