"""What the recurrent layers share: parameters, the call, single steps, packing."""

import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks, random
from recurra.autograd import Tensor, any_requires_grad, core_node
from recurra.layers import dropout as drop
from recurra.module import Module, Parameter
from recurra.packed import PackedLayer, refuse_two_directions
from recurra.results import Array
from recurra.stack import ARRAYS, TENSORS, Stack

# The arguments of recurra.functional and the parameters they are, in PyTorch's order.
PARAMETERS = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b_ih": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
}

# Bytes that Python takes for a cell beside the values.
OBJECTS = 2048

# What `repr` leaves out.
DEFAULTS = {
    "num_layers": 1,
    "nonlinearity": "tanh",
    "bias": True,
    "dropout": 0.0,
    "bidirectional": False,
    "proj_size": 0,
    "reset_after": True,
    "dtype": np.float32,
    "memory": "keep",
}


class Cell(NamedTuple):
    """A kind of cell, as `recurra.functional` runs it."""

    name: str
    """What the core calls it."""
    gates: int
    states: int
    """1 for `h`, 2 for `h` and `c`."""
    forward: Callable[..., tuple[Any, ...]]
    backward: Callable[..., tuple[Any, ...]]
    step: Callable[..., Any]
    pack: Callable[..., Any]
    options: dict[str, Any]
    """What forward and step take beside arrays."""


class Recurrent(Module):
    """What `RNN`, `LSTM` and `GRU` share, which differ in their `Cell` only."""

    _core: Any = _core
    """What runs the cells: `recurra.inspect.watch` puts itself before it."""

    _absent: None = None
    """Stands for parameters that a cell has not."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        dropout: float,
        bidirectional: bool,
        batch_first: bool,
        dtype: DTypeLike,
        memory: str,
        proj_size: int = 0,
    ) -> None:
        name = type(self).__name__
        self.input_size = checks.size(name, "input_size", input_size)
        self.hidden_size = checks.size(name, "hidden_size", hidden_size)
        self.num_layers = checks.size(name, "num_layers", num_layers)
        self.proj_size = checks.size(name, "proj_size", proj_size, 0)
        self.dropout = checks.within(name, "dropout", dropout, 0, 1)
        self.bias = checks.flag(name, "bias", bias)
        self.bidirectional = checks.flag(name, "bidirectional", bidirectional)
        self.dtype = checks.float_dtype(name, dtype)
        self.memory = checks.one_of(name, "memory", memory, ("keep", "low"))
        self._refuse_combinations(batch_first)
        self._cell = cell
        self._stack = Stack(
            name=name,
            input_size=self.input_size,
            widths=(self.proj_size or self.hidden_size, self.hidden_size)[: cell.states],
            num_layers=self.num_layers,
            directions=2 if self.bidirectional else 1,
            dtype=self.dtype,
        )
        self._make_parameters()

    def forward(self, x: Tensor | Array, state: Any = None, lengths: object = None) -> Any:
        """y (B, T, D*H) and the state after the last step: see the module's text."""
        between = partial(drop, p=self.dropout) if self.training and self.dropout else None
        cell = self._run_cell if lengths is None else partial(self._run_cell, lengths=lengths)
        return self._stack.run(TENSORS, cell, x, state, between=between)

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """One time step without gradients: x (B, I) and the state to y (B, H) and the new state.

        Arrays come out; they are bit for bit what `forward` computes for that step. For more
        than a few steps take `packed().step`, which does not prepare the weights again each time.

        >>> import numpy as np
        >>> import recurra
        >>> y, state = recurra.GRU(3, 8, num_layers=2).step(np.ones((1, 3), np.float32))
        >>> y.shape, state.shape
        ((1, 8), (2, 1, 8))
        """
        self._refuse_dropout()
        refuse_two_directions(self._stack)
        return self._stack.run(ARRAYS, self._step_cell, x, state, letters="(B, I)")

    def packed(self) -> PackedLayer:
        """A snapshot with packed weights, for inference: updates and dropout do not reach it."""
        weights = [self._cell.pack(**self._arrays(i)) for i in range(self._stack.cells)]
        return PackedLayer(self._stack, weights)

    def describe(self) -> str:
        unusual = [
            f", {name}={getattr(self, name)}"
            for name, default in DEFAULTS.items()
            if getattr(self, name, default) != default
        ]
        return f"{self.input_size}, {self.hidden_size}" + "".join(unusual)

    def _run_cell(
        self, i: int, x: Tensor, *state: Tensor, lengths: object = None, y: Array | None = None
    ) -> tuple[Tensor, ...]:
        core, stack, operation = self._core, self._stack, self._cell.backward.__name__
        # In the order of the core's arguments and of the gradients that it returns.
        parents: tuple[Tensor | None, ...] = (x, *self._weights_of[i](self), *state, None, None)[:8]
        arrays = [None if parent is None else parent._array for parent in parents]
        save, reverse = any_requires_grad(parents), i % stack.directions == 1
        memory = self.memory if save else "keep"
        y, h_n, c_n, saved = core.forward(
            self._cell.name, *arrays, lengths, reverse, save, memory, None, y
        )
        # An operation of its own for the axis of cells would cost a small layer a third more.
        is_alone, needs_dx = stack.cells == 1, x.requires_grad

        def backward(dy: Array | None, *states: Array | None) -> Any:
            dh_n, dc_n = (*states, None)[:2]
            if is_alone:
                dh_n, dc_n = None if dh_n is None else dh_n[0], None if dc_n is None else dc_n[0]
            return core.backward(operation, saved, dy, dh_n, dc_n, needs_dx, None)

        return core_node(stack.name, (y, *stack.finals(h_n, c_n)), parents, backward)

    def _step_cell(self, i: int, x: Array, *state: Array) -> tuple[Array, ...]:
        new = self._cell.step(x, **self._arrays(i), **_named(state), **self._cell.options)
        states = (new,) if self._cell.states == 1 else new
        return states[0], *self._stack.finals(*states)

    def _parameters(self, i: int) -> dict[str, Parameter]:
        """The parameters of cell `i`, named as the arguments of `recurra.functional`."""
        return {argument: getattr(self, name) for argument, name in self._names_of[i].items()}

    def _arrays(self, i: int) -> dict[str, Array]:
        return {name: parameter.data for name, parameter in self._parameters(i).items()}

    def _make_parameters(self) -> None:
        self._refuse_too_many()
        bound = 1 / math.sqrt(self.hidden_size)
        self._names_of: list[dict[str, str]] = []
        self._weights_of: list[attrgetter[tuple[Parameter | None, ...]]] = []
        for i in range(self._stack.cells):
            shapes, tail = self._shapes(i), self._tail(i)
            for name, shape in shapes.items():
                values = random.uniform(shape, -bound, bound, self.dtype)
                setattr(self, name + tail, Parameter(values))
            names = {a: n + tail for a, n in PARAMETERS.items() if n in shapes}
            self._names_of.append(names)
            self._weights_of.append(attrgetter(*[names.get(a, "_absent") for a in PARAMETERS]))

    def _shapes(self, i: int) -> dict[str, tuple[int, ...]]:
        """The parameters of cell `i`, without their tail."""
        rows, output = self._cell.gates * self.hidden_size, self._stack.widths[0]
        is_first = i < self._stack.directions
        features = self.input_size if is_first else output * self._stack.directions
        biases = {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        projection = {"weight_hr": (output, self.hidden_size)} if self.proj_size else {}
        return {"weight_ih": (rows, features), "weight_hh": (rows, output), **biases, **projection}

    def _tail(self, i: int) -> str:
        layer, direction = divmod(i, self._stack.directions)
        return f"_l{layer}" + "_reverse" * direction

    def _refuse_combinations(self, batch_first: bool) -> None:
        name = type(self).__name__
        if not checks.flag(name, "batch_first", batch_first):
            raise ValueError(
                f"{name}: batch_first: expected True, got {batch_first}; x is (B, T, I)"
            )
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"{name}: dropout: expected 0 with num_layers=1, got {self.dropout}; it acts "
                "between layers"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"{name}: proj_size: expected less than hidden_size = {self.hidden_size}, "
                f"got {self.proj_size}"
            )

    def _refuse_too_many(self) -> None:
        """At once, not when memory has ended: all layers but the first are of one size."""
        directions, stack = self._stack.directions, self._stack
        first, other = (
            sum(math.prod(shape) for shape in self._shapes(i).values()) for i in (0, directions)
        )
        values = directions * first + (stack.cells - directions) * other
        size = values * self.dtype.itemsize + stack.cells * OBJECTS
        checks.room(stack.name, "parameters", (size,), np.uint8)

    def _refuse_dropout(self) -> None:
        if self.training and self.dropout:
            raise RuntimeError(
                f"{type(self).__name__}.step: layer: expected one without dropout, got one in "
                f"training with dropout={self.dropout}; call eval() first"
            )


def _named(state: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("h0", "c0"), state, strict=False))
