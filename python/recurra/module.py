"""Modules: parameters and buffers under names, and the layers that own them.

A `Module` is a plain class. Its parameters, buffers and sub-modules are its attributes, also inside
lists, tuples and dicts, in the order they were set; nothing has to be registered:

>>> import numpy as np
>>> import recurra
>>> class Tagger(recurra.Module):
...     def __init__(self, features, tags):
...         self.rnn = recurra.GRU(features, 16, bidirectional=True)
...         self.out = recurra.Linear(32, tags)
...
...     def forward(self, x, lengths=None):
...         y, _ = self.rnn(x, lengths=lengths)
...         return self.out(y)
>>> model = Tagger(features=8, tags=3)
>>> model(np.zeros((2, 5, 8), np.float32)).shape
(2, 5, 3)
>>> model
Tagger(
  rnn: GRU(8, 16, bidirectional=True)
  out: Linear(32, 3)
)
>>> model.num_parameters()
2595
>>> [name for name, _ in model.named_parameters()][-2:]
['out.weight', 'out.bias']
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra import _routing, checks
from recurra.autograd import Tensor
from recurra.results import Array

if TYPE_CHECKING:
    from recurra.summary import Summary

__all__ = ["Buffer", "LoadReport", "Module", "Parameter", "Sequential"]


class Parameter(Tensor):
    """A tensor that a module learns: it requires grad and owns a contiguous copy of `array`.

    >>> import numpy as np
    >>> from recurra import Parameter
    >>> Parameter(np.zeros(2, np.float32))
    Parameter([0. 0.], dtype=float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, array: object) -> None:
        found = checks.float_array("Parameter", "array", array)
        super().__init__(np.array(found, order="C"), requires_grad=True)


class Buffer:
    """An array that a module keeps, saves and loads but does not learn, such as a running mean.

    It owns a contiguous copy of `array`: float32, float64 or int64, which is what files hold.

    >>> import numpy as np
    >>> from recurra.module import Buffer
    >>> seen = Buffer(np.zeros(2))
    >>> seen.data += 1
    >>> seen
    Buffer([1. 1.], dtype=float64)
    """

    def __init__(self, array: object) -> None:
        found = np.asarray(array)
        if found.dtype != np.int64:
            found = checks.float_array("Buffer", "array", found)
        self.data: NDArray[Any] = np.array(found, order="C")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def mark_updated(self) -> None:
        """Nothing: no graph keeps a buffer (see `Tensor.mark_updated`)."""

    def __repr__(self) -> str:
        values = np.array2string(self.data, prefix="Buffer(", separator=" ")
        return f"Buffer({values}, dtype={self.dtype})"


Kept: TypeAlias = Parameter | Buffer
"""What `state_dict` copies."""


class LoadReport(NamedTuple):
    """What `load_state_dict` left alone."""

    missing: list[str]
    """Parameters and buffers that the mapping had no array for: they keep their values."""
    unexpected: list[str]
    """Names that no parameter and no buffer has."""


class Module:
    """The base of layers and models: subclass it, set attributes, write `forward`.

    Names are PyTorch's: attribute names and positions joined by dots (`rnn.weight_ih_l0`,
    `layers.2.bias`), a module's own parameters, then its buffers, then its sub-modules.
    """

    training: bool = True
    """Whether dropout is active and statistics are taken: see `train` and `eval`."""

    forward: Callable[..., Any]
    """What calling the module does."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """This module, named "", and all below it, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            name, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module
                prefix = f"{name}." if name else ""
                below = [(prefix + key, child) for key, child in module._items(Module)]
                stack.extend(reversed(below))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, with the first of its names."""
        return _once(self._names(Parameter))

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Each buffer once, with the first of its names."""
        return _once(self._names(Buffer))

    def parameters(self) -> Iterator[Parameter]:
        """Each parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def num_parameters(self) -> int:
        """The number of values to learn."""
        return sum(parameter.size for parameter in self.parameters())

    def summary(self, *inputs: Any, dtype: Any = None, **options: Any) -> "Summary":
        """A table of the layers, their parameters and, given inputs, their shapes and memory.

        Each of `inputs` is an array, a tensor or a shape, which stands for zeros of `dtype`, of
        the parameters' where absent. A copy of the model is called with them and `options`; the
        model and the seed stay as they are. Counted are the parameters, a gradient for each, what
        goes in and comes out, and what the graph keeps for backward, each array once. Not counted
        are the moments of an optimizer (Adam's take twice the parameters), the loss, and working
        memory that is free again after a call. The result has these numbers as attributes.

        >>> import recurra
        >>> model = recurra.Sequential(recurra.GRU(8, 32), recurra.Linear(32, 1))
        >>> model.summary((16, 50, 8))
        layer               parameters        output  kept for backward
        Sequential()                     (16, 50, 1)
          0: GRU(8, 32)          4,032  (16, 50, 32)           539.6 kB
          1: Linear(32, 1)          33   (16, 50, 1)           102.4 kB
        <BLANKLINE>
        parameters                 16.3 kB, 4,065 values
        gradients of parameters    16.3 kB
        inputs and outputs         28.8 kB
        kept for backward         642.0 kB
        together                  703.4 kB; the optimizer's moments, the loss and ...
        """
        from recurra.summary import summarize

        return summarize(self, inputs, dtype, options)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Dropout on, statistics from the batch; here and below. Returns the module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Dropout off, statistics from training; here and below. Returns the module."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and buffer; a shared one appears under each of its names."""
        return {name: kept.data.copy() for name, kept in self._names(Parameter, Buffer)}

    def load_state_dict(
        self, state: Mapping[str, object], strict: bool = True, *, cast: bool = False
    ) -> LoadReport:
        """Copy arrays into parameters and buffers of the same names: all or, on an error, none.

        `state` maps names to arrays (tensors and PyTorch's CPU tensors also do). `strict` refuses
        missing and unexpected names, which are returned otherwise. Shapes must always agree, and
        so must dtypes unless `cast=True` rounds or widens the given ones.

        >>> import recurra
        >>> model = recurra.Linear(2, 1)
        >>> model.load_state_dict({"weight": [[1.0, 2.0]], "bias": [0.5]}, cast=True)
        LoadReport(missing=[], unexpected=[])
        >>> model.weight.data
        array([[1., 2.]], dtype=float32)
        """
        given = checks.mapping("load_state_dict", "state", state)
        own = dict(self._names(Parameter, Buffer))
        arrays = {name: _as_array(value) for name, value in given.items()}
        report = LoadReport(
            missing=[name for name in own if name not in arrays],
            unexpected=[name for name in arrays if name not in own],
        )
        faults = _name_faults(report) if strict else []
        pairs = [(name, own[name], arrays[name]) for name in own if name in arrays]
        faults += [fault for pair in pairs for fault in _array_faults(*pair, cast)]
        faults += _sharing_faults(pairs)
        if faults:
            raise ValueError("load_state_dict: state: " + "; ".join(faults))
        converted = [(p, array.astype(p.dtype, copy=False)) for _, p, array in pairs]
        for parameter, array in converted:
            parameter.data[...] = array
            parameter.mark_updated()
        return report

    def describe(self) -> str:
        """The arguments that `repr` shows."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        head = type(self).__name__
        lines = [f"{name}: {module!r}" for name, module in self._items(Module)]
        if not lines:
            return f"{head}({self.describe()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{head}({self.describe()}\n  {body}\n)"

    def _names(self, *kinds: type, above: tuple["Module", ...] = ()) -> Iterator[tuple[str, Any]]:
        """Every name of everything of `kinds`; a module in itself is not entered again."""
        items = [*self._items((*kinds, Module))]
        for kind in kinds:
            yield from (item for item in items if isinstance(item[1], kind))
        for name, module in items:
            if isinstance(module, Module) and module is not self and module not in above:
                for inner, kept in module._names(*kinds, above=(*above, self)):
                    yield f"{name}.{inner}", kept

    def _items(self, kind: Any) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from _find(name, value, kind)


class Sequential(Module):
    """Modules and plain functions, each called with the result of the one before.

    Of a result `(y, ...)`, such as a recurrent layer's `(y, state)` or an attention's
    `(context, weights)`, only the first goes on to the next; the last is returned as it is.

    `lengths` (B,), the valid steps of each row of x (B, T, ...), go to every layer that takes them,
    as its `output_lengths` turned them into if it has changed the number of steps.

    With `state=`, the result is `(y, state)`: a tuple of the states of the layers that take one,
    in their order, to go on with in the next call; None starts with zeros. So a long sequence is
    run in windows: `detach()` the states in between where gradients are to end. All other layers
    see each call alone, also those that look along the time, such as `Conv1d`.

    >>> import numpy as np
    >>> import recurra
    >>> model = recurra.Sequential(
    ...     recurra.Conv1d(4, 8, 3, stride=2), recurra.ops.tanh, recurra.LSTM(8, 16),
    ...     recurra.GlobalPool1d("mean"), recurra.Linear(16, 2),
    ... )
    >>> x = np.zeros((3, 9, 4), np.float32)
    >>> model(x, lengths=[9, 5, 0]).shape
    (3, 2)
    >>> list(model.state_dict())[:3]
    ['0.weight', '0.bias', '2.weight_ih_l0']

    >>> model, state = recurra.Sequential(recurra.GRU(4, 8), recurra.Linear(8, 1)), None
    >>> for window in (x[:, :5], x[:, 5:]):
    ...     y, state = model(window, state=state)
    >>> y.shape, [each.shape for each in state]
    ((3, 4, 1), [(1, 3, 8)])
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        self.layers = layers
        # Once: looking at a signature takes as long as a small layer.
        self._takes = tuple(_routing.arguments(layer) for layer in layers)

    @property
    def takes(self) -> _routing.Takes:
        """Which of `lengths` and `state` one of the layers takes."""
        return frozenset().union(*self._takes)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Any:
        wanted = f"an int from {-len(self)} to {len(self) - 1} or a slice"
        return checks.element("Sequential", "index", self.layers, index, wanted)

    def forward(self, x: Any, lengths: Any = None, state: Any = _routing.NO_STATE) -> Any:
        """The last layer's result, and with `state=` the states too: see the class."""
        if lengths is not None or state is not _routing.NO_STATE:
            return _routing.run(self.layers, self._takes, x, lengths, state)
        for i, layer in enumerate(self.layers):
            x = layer(x[0] if i and isinstance(x, tuple) else x)
        return x

    def output_lengths(self, lengths: Any) -> Any:
        """What `lengths` (B,) are for the outputs, as a loss needs them; None without time axis."""
        return _routing.output_lengths(self.layers, lengths)

    def _items(self, kind: type) -> Iterator[tuple[str, Any]]:
        for i, layer in enumerate(self.layers):
            yield from _find(str(i), layer, kind)
        for name, value in vars(self).items():
            if value is not self.layers:
                yield from _find(name, value, kind)


def _find(name: str, value: object, kind: Any) -> Iterable[tuple[str, Any]]:
    """Everything of `kind`, a class or several, in an attribute's value, under dotted names."""
    if isinstance(value, kind):
        return ((name, value),)
    if not isinstance(value, _ENTERED):
        return ()
    items: Iterable[tuple[Any, object]] = (
        value.items() if isinstance(value, dict) else enumerate(value)
    )
    found: list[tuple[str, Any]] = []
    wanted = (_ENTERED, kind)
    for key, item in items:
        if isinstance(item, wanted):
            found += _find(f"{name}.{key}", item, kind)
    return found


_ENTERED = (list, tuple, dict)


def _once(names: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in names:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _as_array(value: object) -> np.ndarray[Any, Any]:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _name_faults(report: LoadReport) -> list[str]:
    return [f"{kind} {', '.join(names)}" for kind, names in report._asdict().items() if names]


def _array_faults(
    name: str, parameter: Kept, array: np.ndarray[Any, Any], cast: bool
) -> Iterator[str]:
    if array.shape != parameter.shape:
        yield f"{name}: expected shape {parameter.shape}, got {array.shape}"
    castable = "fiu" if parameter.dtype.kind == "f" else "iu"
    if array.dtype.kind not in castable if cast else array.dtype != parameter.dtype:
        hint = "" if cast or array.dtype.kind != "f" else " (cast=True converts)"
        yield f"{name}: expected {parameter.dtype}, got {array.dtype}{hint}"


def _sharing_faults(pairs: list[tuple[str, Kept, np.ndarray[Any, Any]]]) -> Iterator[str]:
    first: dict[int, tuple[str, np.ndarray[Any, Any]]] = {}
    for name, parameter, array in pairs:
        other, values = first.setdefault(id(parameter), (name, array))
        if not np.array_equal(values, array, equal_nan=True):
            yield f"{other} and {name} are one parameter: expected equal arrays, got different ones"
