"""Recording the calls of recurrent layers: what went in, and which gradients came back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra._recurrent import Cell, Recurrent
from recurra.autograd import Tensor, no_grad
from recurra.graph import backpropagate
from recurra.inspect.gates import Activations, find
from recurra.inspect.through_time import StateGradients, walk
from recurra.module import Module
from recurra.results import Array

__all__ = ["Call", "activations", "gradient_norms", "recurrent_cells", "watch"]


@dataclass
class Call:
    """One call of one layer and direction, recorded by `watch`. It holds copies.

    With a gradient walk after the call, `gradients` has `dy` (B, T, P), `dh_n` (B, P) and for an
    LSTM `dc_n` (B, H), as they reached the layer; None stands for zeros.
    """

    name: str
    """As of the parameters: `rnn.l0_reverse`; a later call of the same one is `rnn.l0_reverse[1]`.
    """
    cell: Cell
    arrays: dict[str, Array]
    """x (B, T, I), h0 (B, P), c0 (B, H) and the weights, by the names of `recurra.functional`."""
    lengths: NDArray[np.int64] | None
    """(B,), None for all T."""
    reverse: bool
    gradients: tuple[Array | None, ...] | None = None
    _saved: object = field(default=None, init=False, repr=False)

    def activations(self) -> Activations:
        """The gates and states of every step."""
        return find(self.cell, self.arrays, self.lengths, self.reverse)

    def state_gradients(self) -> StateGradients:
        """The gradient at the state of every step, exact; raises RuntimeError before backward."""
        if self.gradients is None:
            raise RuntimeError(
                "state_gradients: call: expected one that a backward walked through, got "
                f"{self.name} without; call backward() on what the model put out"
            )
        return walk(self.cell, self.arrays, self.lengths, self.reverse, self.gradients)


@contextmanager
def watch(model: Module) -> Iterator[list[Call]]:
    """Record every call of the recurrent layers of `model` inside a `with` block.

    The list grows in the order of the calls, layer by layer, forward before reverse. A gradient
    walk is recorded even if it runs after the block, where the forward pass was inside.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.LSTM(2, 4, num_layers=2)
    >>> with recurra.inspect.watch(layer) as calls:
    ...     y, _ = layer(np.ones((3, 5, 2), np.float32))
    >>> y[:, -1].sum().backward()
    >>> [call.name for call in calls]
    ['l0', 'l1']
    >>> calls[0].activations().gates["f"].shape, calls[0].state_gradients().dc.shape
    ((3, 5, 4), (3, 5, 4))
    """
    calls: list[Call] = []
    layers = _layers("watch", model)
    before = [vars(layer).get("_core") for _, layer in layers]
    for name, layer in layers:
        layer._core = _Recorder(calls, name, layer)
    try:
        yield calls
    finally:
        for (_, layer), core in zip(layers, before, strict=True):
            if core is None:
                del layer._core
            else:
                layer._core = core


def activations(model: Module, *inputs: Any, **options: Any) -> dict[str, Activations]:
    """The gates and states of every recurrent layer in `model(*inputs, **options)`, by name.

    The model runs as it is, without gradients; call `eval()` on one with dropout first.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.GRU(2, 4, bidirectional=True)
    >>> found = recurra.inspect.activations(layer, np.ones((3, 5, 2), np.float32))
    >>> list(found), list(found["l0"].gates), found["l0"].h.shape
    (['l0', 'l0_reverse'], ['r', 'z', 'n'], (3, 5, 4))
    """
    with watch(model) as calls, no_grad():
        model(*inputs, **options)
    return {call.name: call.activations() for call in calls}


def gradient_norms(model: Module, loss: Callable[[], Tensor]) -> dict[str, NDArray[np.float64]]:
    """The 2-norm of dL/dh_t at every step t of every recurrent layer of `model`: (T,) by name.

    `loss()` runs the model and returns one number L. Where the norm falls towards the first step,
    the layer does not learn from what lies far back; where it grows, it learns from that alone
    (Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013).
    It is of all rows together, and NaN at steps that no row has. Parameters and their `grad` stay
    as they are. A layer that `loss` does not depend on has zeros.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.RNN(1, 4)
    >>> x = np.ones((2, 6, 1), np.float32)
    >>> norms = recurra.inspect.gradient_norms(layer, lambda: layer(x)[0][:, 3].sum())
    >>> norms["l0"][3:].round(4).tolist()  # the square root of 2 rows times 4 units
    [2.8284, 0.0, 0.0]
    """
    with watch(model) as calls:
        value: object = loss()
    if not isinstance(value, Tensor) or value.size != 1 or not value.requires_grad:
        raise ValueError(
            "gradient_norms: loss: expected a function that returns a tensor of one element that "
            f"requires grad, got {value!r}"
        )
    backpropagate(value.source(), np.ones_like(value.data))
    return {
        call.name: walk(
            call.cell, call.arrays, call.lengths, call.reverse, call.gradients or ()
        ).norms()
        for call in calls
    }


def recurrent_cells(operation: str, model: Module) -> Iterator[tuple[str, dict[str, Array]]]:
    """The name and the weights of every layer and direction of `model`, which must have one."""
    for name, layer in _layers(operation, model):
        for i in range(layer._stack.cells):
            yield _name(name, layer, i), layer._arrays(i)


def _layers(operation: str, model: Module) -> list[tuple[str, Recurrent]]:
    checks.instance(operation, "model", model, Module, "a Module")
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Recurrent)]
    if not found:
        raise ValueError(
            f"{operation}: model: expected one with an RNN, LSTM or GRU, got {type(model).__name__}"
            " without"
        )
    return found


def _name(prefix: str, layer: Recurrent, i: int) -> str:
    tail = layer._tail(i).removeprefix("_")
    return f"{prefix}.{tail}" if prefix else tail


class _Recorder:
    """What stands before the core of a watched layer."""

    def __init__(self, calls: list[Call], prefix: str, layer: Recurrent) -> None:
        self._calls, self._prefix, self._layer = calls, prefix, layer
        self._forward, self._backward = layer._core.forward, layer._core.backward

    def forward(self, cell: str, *given: Any) -> tuple[Any, ...]:
        output: tuple[Any, ...] = self._forward(cell, *given)
        arrays = dict(zip(_ARRAYS, given, strict=False))
        lengths, reverse = given[len(_ARRAYS) :][:2]
        name = _name(self._prefix, self._layer, _number(self._layer, arrays))
        times = sum(call.name.partition("[")[0] == name for call in self._calls)
        call = Call(
            name=f"{name}[{times}]" if times else name,
            cell=self._layer._cell,
            arrays={name: array.copy() for name, array in arrays.items() if array is not None},
            lengths=None if lengths is None else np.array(lengths, np.int64),
            reverse=reverse,
        )
        call._saved = output[-1]
        self._calls.append(call)
        return output

    def backward(self, operation: str, saved: object, *given: Any) -> Any:
        for call in self._calls:
            if saved is not None and call._saved is saved:
                gradients = given[: 1 + call.cell.states]
                call.gradients = tuple(None if g is None else g.copy() for g in gradients)
                call._saved = None  # it is large, and a graph is walked once
        return self._backward(operation, saved, *given)


def _number(layer: Recurrent, given: Mapping[str, Any]) -> int:
    """Which of the layer's cells was called: the one with these weights."""
    cells = range(layer._stack.cells)
    return next(i for i in cells if layer._arrays(i)["w_hh"] is given["w_hh"])


_ARRAYS = ("x", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr", "h0", "c0")
"""The first arguments of the core's `forward`, after the cell."""
