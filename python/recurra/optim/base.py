"""Optimizers: SGD, Adam and AdamW, each one pass over a parameter in the core.

>>> import numpy as np
>>> import recurra
>>> model = recurra.Linear(1, 1)
>>> optimizer = recurra.Adam(model.parameters(), lr=0.1)
>>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
>>> for _ in range(200):
...     loss = recurra.mse(model(x), 3 * x - 1)
...     optimizer.zero_grad()
...     loss.backward()
...     _ = recurra.clip_grad_norm(model.parameters(), 1.0)
...     optimizer.step()
>>> round(loss.item(), 3)
0.0

A parameter whose `grad` is None is left alone, and its state too. `optimizer.lr` may be assigned
between steps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from recurra import _core, checks
from recurra.autograd import Tensor
from recurra.results import Array

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm"]

Parameters: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]]


class Optimizer:
    """What the optimizers share; each adds its settings and `update`.

    `params` are leaf tensors that require grad, or pairs of a name and such a tensor
    (`model.named_parameters()`). Without names they are numbered.
    """

    lr: float

    def __init__(self, params: Parameters, settings: Sequence[str], moments: Sequence[str]) -> None:
        self.params = _named(type(self).__name__, params)
        self._settings, self._moments = settings, moments
        self._state: dict[str, dict[str, Any]] = {}

    update: Callable[..., None]
    """`update(values, grad, step, **moments)` changes `values` and the moments in place; `step`
    counts from 1 for each parameter."""

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.params.values():
            parameter.zero_grad()

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        ready = [(n, p, p.grad) for n, p in self.params.items() if p.grad is not None]
        for triple in ready:
            _check_update(f"{type(self).__name__}.step", *triple)
        for name, parameter, grad in ready:
            if name not in self._state:
                self._state[name] = self._fresh_state(parameter)
            self._state[name]["step"] += 1
            self.update(parameter.data, np.ascontiguousarray(grad), **self._state[name])
            parameter.mark_updated()

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that is needed to go on as if never stopped: named arrays, copied.

        The settings ("lr"), and for each parameter updated so far its "step.NAME" and moments.
        """
        state = self._settings_arrays()
        for name, kept in self._state.items():
            state |= {f"{key}.{name}": np.array(value) for key, value in kept.items()}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take over what `state_dict` returned: all of it or, on an error, nothing.

        `lr` is taken over, too. The other settings must be the ones this optimizer has.

        >>> import numpy as np
        >>> import recurra
        >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
        >>> saved = recurra.SGD([w], lr=0.5, momentum=0.9).state_dict()
        >>> optimizer = recurra.SGD([w], lr=0.1, momentum=0.9)
        >>> optimizer.load_state_dict(saved)
        >>> optimizer.lr
        0.5
        """
        arrays = {key: np.asarray(value) for key, value in state.items()}
        kept = {name: self._fresh_state(p) for name, p in self.params.items()}
        kept = {name: s for name, s in kept.items() if any(f"{k}.{name}" in arrays for k in s)}
        wanted = self._settings_arrays()
        for name, fresh in kept.items():
            wanted |= {f"{key}.{name}": np.asarray(value) for key, value in fresh.items()}
        faults = [*_form_faults(wanted, arrays), *_value_faults(self._settings_arrays(), arrays)]
        if faults:
            operation = f"{type(self).__name__}.load_state_dict"
            raise ValueError(f"{operation}: state: " + "; ".join(faults))
        self.lr = float(arrays["lr"])
        for name, fresh in kept.items():
            fresh |= {key: arrays[f"{key}.{name}"].copy() for key in self._moments}
            fresh["step"] = int(arrays[f"step.{name}"])
        self._state = kept

    def _settings_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {name: np.array(getattr(self, name), np.float64) for name in self._settings}

    def _fresh_state(self, parameter: Tensor) -> dict[str, Any]:
        zeros = {name: np.zeros(parameter.shape, parameter.dtype) for name in self._moments}
        return {"step": 0, **zeros}


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

    def __init__(
        self,
        params: Parameters,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr = checks.within("SGD", "lr", lr, 0)
        self.momentum = checks.within("SGD", "momentum", momentum, 0)
        self.weight_decay = checks.within("SGD", "weight_decay", weight_decay, 0)
        self.nesterov = bool(nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov: expected a momentum > 0 with it, got 0")
        settings = ("lr", "momentum", "nesterov", "weight_decay")
        super().__init__(params, settings, ("velocity",) if momentum else ())

    def update(self, values: Array, grad: Array, step: int, velocity: Array | None = None) -> None:
        _core.sgd_step(
            values,
            grad,
            velocity,
            self.lr,
            self.momentum,
            self.weight_decay,
            self.nesterov,
            step == 1,
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015).

        m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g g
        p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    with (b1, b2) = `betas` and g = grad + weight_decay * p.

    >>> import numpy as np
    >>> import recurra
    >>> w = recurra.Tensor(np.array([1.0]), requires_grad=True)
    >>> (w * w).sum().backward()
    >>> recurra.Adam([w], lr=0.25).step()
    >>> w.data.round(6)
    array([0.75])
    """

    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.lr = checks.within(name, "lr", lr, 0)
        self.beta1 = checks.within(name, "betas[0]", betas[0], 0, 1)
        self.beta2 = checks.within(name, "betas[1]", betas[1], 0, 1)
        self.eps = checks.within(name, "eps", eps, 0)
        self.weight_decay = checks.within(name, "weight_decay", weight_decay, 0)
        super().__init__(params, ("lr", "beta1", "beta2", "eps", "weight_decay"), ("m", "v"))

    def update(self, values: Array, grad: Array, step: int, m: Array, v: Array) -> None:
        _core.adam_step(
            values,
            grad,
            m,
            v,
            self.lr,
            self.beta1,
            self.beta2,
            self.eps,
            self.weight_decay,
            self.decoupled,
            step,
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
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


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
    named = _named("clip_grad_norm", params)
    norm = _core.grad_norm([p.grad for p in named.values() if p.grad is not None])
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # true for NaN, too
        for p in named.values():
            if p.grad is None:
                continue
            if not p.grad.flags.carray:  # one that the caller assigned, perhaps not to be changed
                p.grad = p.grad.copy()
            _core.scale_(p.grad, factor)
    return norm


def _named(operation: str, params: Parameters) -> dict[str, Tensor]:
    if isinstance(params, Tensor):
        raise TypeError(f"{operation}: params: expected an iterable of tensors, got one tensor")
    pairs = [p if isinstance(p, tuple) else (str(i), p) for i, p in enumerate(params)]
    for name, parameter in pairs:
        if not (isinstance(parameter, Tensor) and parameter.is_leaf and parameter.requires_grad):
            raise TypeError(
                f"{operation}: params: expected leaf tensors that require grad, "
                f"got {_kind(parameter)} as {name}"
            )
    if not pairs:
        raise ValueError(f"{operation}: params: expected at least one tensor, got none")
    if len(dict(pairs)) < len(pairs) or len({id(p) for _, p in pairs}) < len(pairs):
        raise ValueError(f"{operation}: params: expected each name and tensor once, got repeats")
    return dict(pairs)


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return "a tensor that does not require grad" if value.is_leaf else "the result of an operation"


def _check_update(operation: str, name: str, parameter: Tensor, grad: Array) -> None:
    checks.float_array(operation, f"grad of {name}", grad, parameter.dtype)
    checks.shape(operation, f"grad of {name}", grad, "of the parameter", parameter.shape)
    if not parameter.data.flags.carray:
        raise ValueError(
            f"{operation}: {name}: expected a writable C-contiguous array, got one that is not"
        )


Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]


def _form_faults(wanted: Arrays, found: Arrays) -> Iterator[str]:
    yield from (f"missing {name}" for name in wanted if name not in found)
    yield from (f"unexpected {name}" for name in found if name not in wanted)
    for name, a in wanted.items():
        b = found.get(name, a)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            yield f"{name}: expected {a.dtype} {a.shape}, got {b.dtype} {b.shape}"


def _value_faults(settings: Arrays, found: Arrays) -> Iterator[str]:
    for name, value in settings.items():
        if name != "lr" and name in found and not np.array_equal(found[name], value):
            yield f"{name}: expected {value:g} as this optimizer has, got {found[name]}"
