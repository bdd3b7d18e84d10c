"""Running a copy of a model once, to see which module puts out and keeps what."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from recurra import checks, random
from recurra.autograd import Tensor
from recurra.graph import Node
from recurra.module import Module, Parameter
from recurra.summary.kept import Buffers, nodes, tensors
from recurra.summary.table import Row, Summary

__all__ = ["summarize"]


def summarize(
    model: Module, inputs: Sequence[object], dtype: DTypeLike | None, options: Mapping[str, Any]
) -> Summary:
    """The work of `Module.summary`, which says what it does."""
    if inputs:
        model = copy.deepcopy(model)  # a run may change running statistics, which are the user's
    rows = {module: Row(name, _described(module)) for name, module in model.named_modules()}
    _count_parameters(rows)
    size = sum(parameter.data.nbytes for parameter in model.parameters())
    summary = Summary(list(rows.values()), size)
    if inputs:
        values = [_input(model, value, dtype) for value in inputs]
        run = _Run(rows)
        try:
            _measure(summary, run, model, values, options)
        finally:
            run.owners.clear()  # the copy's modules refer to themselves; the graph need not wait
    return summary


class _Run:
    """Which module made which node of the graph: the innermost one that was running."""

    def __init__(self, rows: dict[Module, Row]) -> None:
        self.owners: dict[Node, Row] = {}
        self._running: list[Row] = []
        for module, row in rows.items():
            module.forward = self._recorded(module.forward, row)

    def _recorded(self, forward: Callable[..., Any], row: Row) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self._running:
                self._claim((args, options), self._running[-1])
            self._running.append(row)
            output = forward(*args, **options)
            self._running.pop()
            self._claim(output, row)
            shapes = [tensor.shape for tensor in tensors(output)]
            row.output = shapes[0] if shapes else None
            return output

        return call

    def _claim(self, value: object, row: Row) -> None:
        for node in nodes(tensors(value), self.owners):
            self.owners[node] = row


def _measure(
    summary: Summary, run: _Run, model: Module, values: list[Any], options: Mapping[str, Any]
) -> None:
    before = random.get_state()
    try:
        output = model(*values, **options)
    finally:
        random.set_state(before)  # dropout has drawn
    given = [values, list(options.values())]
    outside, kept = Buffers([p.data for p in model.parameters()]), 0
    met = Buffers([*model.parameters(), *given])
    for node in nodes(tensors(output)):
        size = met.add(node.backward)
        run.owners[node].kept_bytes += size
        kept += size
    summary.passing_bytes = sum(outside.add(thing) for thing in [*given, *tensors(output)])
    summary.kept_bytes = kept


def _count_parameters(rows: Mapping[Module, Row]) -> None:
    met: set[int] = set()
    for module, row in rows.items():
        for _, parameter in module._items(Parameter):
            row.parameters += 0 if id(parameter) in met else parameter.size
            met.add(id(parameter))


def _input(model: Module, value: object, dtype: DTypeLike | None) -> Any:
    """An array or tensor as it is; zeros for a shape."""
    if isinstance(value, Tensor | np.ndarray):
        return value
    if not isinstance(value, tuple):
        raise TypeError(
            "summary: inputs: expected an array, a tensor or a shape such as (B, T, I), got "
            f"{type(value).__name__}"
        )
    shape = tuple(checks.size("summary", "inputs", size, 0) for size in value)
    found = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
    zeros = checks.room("summary", "inputs", shape, found if dtype is None else dtype)
    zeros.fill(0)
    return zeros


def _described(module: Module) -> str:
    return f"{type(module).__name__}({module.describe()})"
