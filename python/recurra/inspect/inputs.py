"""How much each input matters: the gradient at the inputs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recurra import checks
from recurra.autograd import Tensor
from recurra.graph import backpropagate
from recurra.results import Array

__all__ = ["Saliency", "saliency"]


class Saliency(NamedTuple):
    """What `saliency` returns, each of the shape of x."""

    gradient: Array
    """d score / d x"""
    magnitude: Array
    """The absolute gradient (Simonyan, Vedaldi and Zisserman 2014)."""
    times_input: Array
    """The gradient times x (Shrikumar et al. 2016): of a linear score, what each input adds."""


def saliency(score: Callable[[Tensor], Tensor], x: Array) -> Saliency:
    """How the number `score(x)` changes with each element of x (B, T, I), or of any other shape.

    `score` takes a tensor and returns a tensor of one element, such as the logit of a class.
    Integers have no gradient: behind an `Embedding`, give the embedded vectors as x. Call
    `eval()` on a model with dropout first. Parameters and their `grad` stay as they are. Raises
    ValueError where `score` is no such tensor or does not depend on x.

    >>> import numpy as np
    >>> import recurra
    >>> w = np.array([2.0, -3.0])
    >>> found = recurra.inspect.saliency(lambda x: (x * w).sum(), np.array([1.0, 10.0]))
    >>> found.gradient.tolist(), found.magnitude.tolist(), found.times_input.tolist()
    ([2.0, -3.0], [2.0, 3.0], [2.0, -30.0])
    """
    leaf = Tensor(np.array(checks.float_array("saliency", "x", x)), requires_grad=True)
    value: object = score(leaf)
    if not isinstance(value, Tensor) or value.size != 1:
        got = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"saliency: score: expected a tensor of one element, got {got}")
    met = backpropagate(value.source(), np.ones_like(value.data)) if value.requires_grad else {}
    gradient = met.get(leaf)
    if gradient is None:
        raise ValueError("saliency: score: expected one that depends on x, got one that does not")
    return Saliency(gradient, np.abs(gradient), gradient * leaf.data)
