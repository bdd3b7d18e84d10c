"""Nested state as named arrays and a text, which is what a file holds.

Dicts, lists, tuples, arrays, tensors, numbers, texts, truth values and None go in and come back
the same, to the bit; tensors come back as tensors without a graph.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.autograd import Tensor

__all__ = ["pack", "unpack"]

Arrays = dict[str, NDArray[Any]]


def pack(tree: Any) -> tuple[Arrays, str]:
    """The arrays of a tree by their path, and everything else as JSON.

    >>> import numpy as np
    >>> from recurra.train.tree import pack, unpack
    >>> arrays, text = pack({"model": {"w": np.ones(2)}, "step": 3, "state": None})
    >>> arrays
    {'model.w': array([1., 1.])}
    >>> unpack(arrays, text)
    {'model': {'w': array([1., 1.])}, 'step': 3, 'state': None}
    """
    arrays: Arrays = {}
    return arrays, json.dumps(_pack(tree, "", arrays))


def unpack(arrays: Mapping[str, NDArray[Any]], text: str) -> Any:
    """What `pack` was given; a `KeyError` or `ValueError` if the two do not belong together."""
    return _unpack(json.loads(text), arrays)


# A container is a JSON object with one key, its kind: nothing in the tree can be taken for it.


def _pack(value: Any, path: str, arrays: Arrays) -> Any:
    if isinstance(value, Tensor | np.ndarray):
        arrays[path] = value.data if isinstance(value, Tensor) else value
        return {"tensor" if isinstance(value, Tensor) else "array": path}
    if isinstance(value, Mapping):
        packed = {_key(k, path): _pack(v, _below(path, k), arrays) for k, v in value.items()}
        return {"dict": packed}
    if isinstance(value, list | tuple):
        items = [_pack(v, _below(path, i), arrays) for i, v in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"checkpoint: {path}: expected numbers, texts, arrays and containers of them, "
        f"got {type(value).__name__}"
    )


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"checkpoint: {path}: expected keys that are texts, got {key!r}")
    return key


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "dict":
        return {key: _unpack(item, arrays) for key, item in content.items()}
    if kind in ("list", "tuple"):
        items = [_unpack(item, arrays) for item in content]
        return items if kind == "list" else tuple(items)
    if kind not in ("array", "tensor"):
        raise ValueError(f"expected a kind of container, got {kind!r}")
    return arrays[content] if kind == "array" else Tensor(arrays[content])
