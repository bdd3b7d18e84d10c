"""What a graph keeps in memory until it is walked back: found by looking, not by formulas.

Whatever an operation closes over for its backward stays alive as long as the graph: arrays, and
objects of the core that say their size in `nbytes`. Looking at them counts what there is, for
every layer that exists and for those that users write.
"""

import gc
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from recurra.autograd import Tensor
from recurra.graph import Node
from recurra.module import Module

__all__ = ["Buffers", "nodes", "tensors"]


class Buffers:
    """Memory that was met, each piece once however many arrays look at it."""

    def __init__(self, known: Iterable[object] = ()) -> None:
        self._met: set[int] = set()
        for thing in known:
            self.add(thing)

    def add(self, thing: object) -> int:
        """The bytes that stay alive with `thing` and were not met before."""
        total, seen, stack = 0, {id(thing)}, [thing]
        while stack:
            item = stack.pop()
            address, size = _memory(item)
            if size and address not in self._met:
                self._met.add(address)
                total += size
            below = [part for part in _parts(item) if id(part) not in seen]
            seen.update(id(part) for part in below)
            stack.extend(below)
        return total


def nodes(outputs: Iterable[Tensor], known: Iterable[Node] = ()) -> Iterator[Node]:
    """The nodes that `outputs` were made by, each once, without those known and what they used."""
    seen = set(known)
    stack = [tensor.source()[0] for tensor in outputs if tensor.requires_grad]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and node not in seen:
            seen.add(node)
            yield node
            stack.extend(source[0] for source in node.sources if source is not None)


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in `value`: itself, or inside tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def _memory(item: object) -> tuple[int, int]:
    """Where it lies and how long it is: an array's owner, or what says its size; else nothing."""
    if isinstance(item, Tensor):
        item = item.data
    if isinstance(item, np.ndarray):
        while isinstance(item.base, np.ndarray):
            item = item.base
        return item.__array_interface__["data"][0], item.nbytes
    size = getattr(item, "nbytes", 0)
    return id(item), size if isinstance(size, int) and not isinstance(item, type) else 0


def _parts(item: object) -> list[Any]:
    """What it holds on to, but for code, modules, and what a graph has by itself."""
    if isinstance(item, FunctionType):  # not its globals
        cells = [cell for cell in item.__closure__ or () if _is_filled(cell)]
        return [cell.cell_contents for cell in cells] + list(item.__defaults__ or ())
    if isinstance(item, Tensor | np.ndarray | Module | ModuleType | Node | type):
        return []
    return [part for part in gc.get_referents(item) if not isinstance(part, type)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
