"""The graph behind `recurra.autograd`: nodes, the walk back through them, and `no_grad`."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from recurra.results import Array

if TYPE_CHECKING:
    from recurra.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Backward: TypeAlias = Callable[..., Sequence[Array | None]]
Source: TypeAlias = "tuple[Node | Tensor, int]"
"""Where a value came from: a node and the number of its output, or a leaf and the version of its
values. Sources, not tensors, are what a node keeps: a result nobody else holds is freed early."""


class _Mode(threading.local):
    recording = True


mode = _Mode()


def is_recording() -> bool:
    """Whether operations in this thread record how to take gradients back (see `no_grad`)."""
    return mode.recording


class no_grad:  # noqa: N801 (reads as a verb where it is used)
    """Record nothing in this thread: results inside need no gradient and keep nothing for one.

    A context manager or a decorator, which nests:

    >>> import recurra
    >>> w = recurra.Tensor([1.0], requires_grad=True)
    >>> with recurra.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    >>> @recurra.no_grad()
    ... def predict(w):
    ...     return w * 2
    >>> predict(w).requires_grad
    False
    """

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.recording)
        mode.recording = False

    def __exit__(self, *exception: object) -> None:
        mode.recording = self._before.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        # The body of a generator or coroutine runs after the call returns: it would record.
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError("no_grad: function: expected a plain function, got one that suspends")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with no_grad():
                return function(*args, **kwargs)

        return call


class _Updates:
    """`latest` is another object after every update of a leaf: the same one, no update between."""

    latest = object()


_updates = _Updates()


def mark_update() -> None:
    """Say that values of leaves were replaced."""
    _updates.latest = object()


class Node:
    """One operation: where its inputs came from, and how gradients of its outputs go back."""

    __slots__ = (
        "backward",
        "dtype",
        "is_fresh",
        "made_after",
        "name",
        "nodes",
        "shapes",
        "sources",
    )

    def __init__(
        self,
        name: str,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype[Any] | None,
        sources: Sequence[Source | None],
        nodes: Sequence[Node],
        backward: Backward,
        is_fresh: bool,
    ) -> None:
        self.name = name
        self.shapes = shapes  # of the outputs
        self.dtype = dtype  # of all inputs, where gradients are to be checked
        self.sources = sources  # of the inputs, None for one that wants no gradient
        self.nodes = nodes  # those among the sources
        self.backward: Backward | None = backward
        self.is_fresh = is_fresh  # whether leaves may keep the gradients, and need no copies
        self.made_after = _updates.latest

    def check(self, sources: Sequence[Source | None], gradients: Sequence[Array | None]) -> None:
        """Refuse gradients that have not the form of the inputs from `sources`."""
        for i, (source, gradient) in enumerate(zip(sources, gradients, strict=True)):
            if source is None or gradient is None:
                continue
            origin, number = source
            shape = origin.shapes[number] if isinstance(origin, Node) else origin._array.shape
            if gradient.shape != shape or gradient.dtype != self.dtype:
                raise ValueError(
                    f"{self.name}: gradient of input {i}: expected {self.dtype} {shape}, "
                    f"got {gradient.dtype} {gradient.shape}"
                )


def backpropagate(root: Source, gradient: Array) -> dict[Tensor, Array]:
    """Each leaf under `root` with its gradient, given the gradient of `root`.

    A node's turn comes when all its users had theirs. Gradients that meet are added in that
    order, which the graph alone decides. Those of leaves share memory with nothing else.
    """
    origin, number = root
    if not isinstance(origin, Node):
        return {origin: gradient.copy()}
    leaves: dict[Tensor, Array] = {}
    met: dict[Node, list[Array | None]] = {origin: [None] * len(origin.shapes)}
    met[origin][number] = gradient
    for node in _order(origin):
        _give_back(node, met, leaves)
    return leaves


def _give_back(
    node: Node, met: dict[Node, list[Array | None]], leaves: dict[Tensor, Array]
) -> None:
    """Hand the gradients of a node's outputs on to its inputs; what it saved is freed."""
    gradients, backward, sources = met.pop(node, None), node.backward, node.sources
    node.backward, node.sources, node.nodes = None, (), ()
    if backward is None or gradients is None:
        return
    found, dtype = backward(*gradients), node.dtype
    # Small models spend their time here: no call more than it takes for each input.
    for source, back in zip(sources, found, strict=True):
        if source is None or back is None:
            continue
        origin, number = source
        if dtype is not None:
            shape = origin.shapes[number] if isinstance(origin, Node) else origin._array.shape
            if back.shape != shape or back.dtype is not dtype:  # the identity is asked first
                node.check(sources, found)
        if isinstance(origin, Node):
            gradients = met.get(origin)
            if gradients is None:
                gradients = met[origin] = [None] * len(origin.shapes)
            before = gradients[number]
            if before is None:
                gradients[number] = back
            else:  # nobody else has a fresh one
                gradients[number] = np.add(before, back, out=back if node.is_fresh else None)
        elif origin in leaves:
            np.add(leaves[origin], back, out=leaves[origin])
        else:
            leaves[origin] = back if node.is_fresh else np.array(back, order="C")


def _order(root: Node) -> list[Node]:
    """The nodes under `root`, users first. Without recursion: graphs are as deep as time is."""
    finished: list[Node] = []
    is_finished: dict[Node, bool] = {}
    stack = [root]
    latest = _updates.latest
    while stack:
        node = stack.pop()
        if node not in is_finished:
            if node.backward is None:
                _refuse_used(node)
            if node.made_after is not latest:
                _refuse_updated(node)
            is_finished[node] = False
            stack.append(node)  # and met again when all below it are finished
            stack += node.nodes
        elif not is_finished[node]:
            is_finished[node] = True
            finished.append(node)
    return finished[::-1]


def _refuse_used(node: Node) -> None:
    raise RuntimeError(
        f"backward: graph: expected one that was not walked yet, got a {node.name} whose "
        "values were freed by an earlier backward; add the losses and call backward once, or "
        "detach() what is carried over (such as a recurrent state)"
    )


def _refuse_updated(node: Node) -> None:
    """Refuse a node that has used older values of a leaf."""
    for origin, version in filter(None, node.sources):
        if not isinstance(origin, Node) and origin.version != version:
            raise RuntimeError(
                f"backward: graph: expected a leaf of shape {origin.shape} as the forward pass "
                "used it, got one updated since; call backward before the optimizer's step"
            )
