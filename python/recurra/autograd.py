"""Reverse-mode differentiation over NumPy arrays.

A `Tensor` is an array that remembers how it was made. Operations on tensors (`recurra.ops`, the
layers, the losses) record a graph of nodes; `loss.backward()` walks it once from the loss to the
leaves and adds each leaf's gradient to its `grad`.

>>> import recurra
>>> w = recurra.Tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> loss = (w * w).sum()
>>> loss.backward()
>>> w.grad
array([2., 4., 6.])

**An operation of your own** is its value and, for each input, the function that turns the
gradient of the output into the gradient of that input:

>>> import numpy as np
>>> from recurra.autograd import Tensor, node
>>> def softplus(x):
...     a = x.data
...     return node("softplus", np.logaddexp(0, a), (x, lambda g: g / (1 + np.exp(-a))))
>>> x = Tensor([0.0], requires_grad=True)
>>> softplus(x).sum().backward()
>>> x.grad
array([0.5])

`fused_node` is for operations with several outputs, or with one backward function that makes all
gradients together, as the recurrent layers have.

What holds: float32 and float64 are never mixed. The graph alone decides the order of every sum,
so the same program gives the same gradients. A graph is walked once, and its memory is freed on
the way. Gradients of gradients are not recorded.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks
from recurra.graph import Backward, Node, Source, is_recording, mode, no_grad
from recurra.results import Array
from recurra.tensor import Axes, Operand, Tensor

__all__ = [
    "Axes",
    "Operand",
    "Tensor",
    "any_requires_grad",
    "as_tensor",
    "fused_node",
    "is_recording",
    "no_grad",
    "node",
]


def fused_node(
    name: str,
    outputs: Sequence[Array],
    parents: Sequence[Tensor | None],
    backward: Backward,
    *,
    is_fresh: bool = False,
) -> tuple[Tensor, ...]:
    """The tensors of an operation with any number of outputs.

    `parents` are its inputs, None for one that was not given; the first one always is. `backward`
    takes the gradient of each output, None for an output that was not used, and returns the
    gradient of each parent, None where nothing flows. It runs once, and only if a parent requires
    grad; what it closes over is freed then. `name` appears in errors.

    With `is_fresh` all that `backward` returns are new C-contiguous arrays, each of them once,
    which nobody else has: leaves then take them as their `grad`, else copies.

    >>> import numpy as np
    >>> from recurra.autograd import Tensor, fused_node
    >>> def polar(r, phi):
    ...     x, y = r.data * np.cos(phi.data), r.data * np.sin(phi.data)
    ...     def backward(dx, dy):
    ...         dx, dy = (np.zeros_like(x) if g is None else g for g in (dx, dy))
    ...         return (x * dx + y * dy) / r.data, x * dy - y * dx
    ...     return fused_node("polar", (x, y), (r, phi), backward)
    >>> r, phi = Tensor([2.0], requires_grad=True), Tensor([0.0], requires_grad=True)
    >>> x, y = polar(r, phi)
    >>> y.sum().backward()
    >>> r.grad, phi.grad
    (array([0.]), array([2.]))
    """
    first = parents[0]
    assert first is not None
    dtype = first._array.dtype
    # Small models spend their time here and below: identity is asked before equality.
    for parent in parents:
        if parent is not None and parent._array.dtype is not dtype:
            checks.float_array(name, "input", parent._array, dtype)
    for output in outputs:
        if type(output) is not np.ndarray or output.dtype is not dtype:
            outputs = [checks.float_array(name, "output", each, dtype) for each in outputs]
    return core_node(name, outputs, parents, backward, is_fresh=is_fresh, dtype=dtype)


def core_node(
    name: str,
    outputs: Sequence[Array],
    parents: Sequence[Tensor | None],
    backward: Backward,
    *,
    is_fresh: bool = True,
    dtype: np.dtype[Any] | None = None,
) -> tuple[Tensor, ...]:
    """`fused_node` without checks: the core has made its own of what comes and goes.

    With `dtype`, that of all inputs, the gradients are checked.
    """
    sources: list[Source | None] = []
    nodes: list[Node] = []
    is_recorded = False
    for parent in parents:
        source: Source | None = None
        if parent is not None and parent.requires_grad:
            is_recorded = True
            made_by = parent._made_by
            if made_by is None:
                source = parent, parent.version
            else:
                source = made_by
                nodes.append(made_by[0])
        sources.append(source)
    if not (is_recorded and mode.recording):
        return tuple([Tensor.made(array, None) for array in outputs])
    shapes = [array.shape for array in outputs]
    node = Node(name, shapes, dtype, sources, nodes, backward, is_fresh)
    return tuple([Tensor.made(array, (node, i)) for i, array in enumerate(outputs)])


def node(name: str, value: object, *inputs: tuple[Tensor, Callable[[Array], Array]]) -> Tensor:
    """The tensor of an operation with one output.

    Each input comes with a function from the gradient of the output to its own. Only those of
    inputs that require grad are called and kept. The module's text has an example.
    """
    parents = [parent for parent, _ in inputs]
    functions = [function if parent.requires_grad else None for parent, function in inputs]

    def backward(gradient: Array) -> list[Array | None]:
        return [function and function(gradient) for function in functions]

    return fused_node(name, (np.asarray(value),), parents, backward)[0]


def any_requires_grad(tensors: Iterable[Tensor | None]) -> bool:
    """Whether an operation on `tensors` is recorded now: what it saves is for nothing if not."""
    if mode.recording:
        for tensor in tensors:  # a loop: `any` over a generator takes three times as long
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def as_tensor(
    operation: str, argument: str, value: Operand, dtype: DTypeLike | None = None
) -> Tensor:
    """`value` as a tensor: a number takes `dtype`, an array or a tensor must have it already."""
    if isinstance(value, Tensor):
        if dtype is not None and value._array.dtype is not dtype:
            checks.float_array(operation, argument, value._array, dtype)
        return value
    if type(value) is np.ndarray and value.dtype is dtype:  # the usual case, without a detour
        return Tensor.made(value, None)
    # NumPy's float64 is a Python float as well, but it has a dtype of its own.
    if issubclass(type(value), _NUMBERS) and not issubclass(type(value), np.floating):
        return Tensor(np.asarray(value, dtype or np.float64))
    return Tensor.made(checks.float_array(operation, argument, value, dtype), None)


_NUMBERS = (int, float, np.integer)
