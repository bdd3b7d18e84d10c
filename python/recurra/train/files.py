"""Checkpoint files: the whole state of a training in a safetensors file, with a digest.

The model's arrays are named `model.NAME`, so that other programs can take them out.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checkpoint
from recurra.train.tree import pack, unpack

__all__ = ["load", "load_model", "save"]

FORMAT = "recurra.train"
VERSION = "1"
PREFIX = "average."


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write a state to a file, all or nothing: see `recurra.checkpoint.save`.

    >>> import tempfile, numpy as np
    >>> from recurra.train import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files.save(f"{folder}/a.safetensors", {"model": {"w": np.ones(2)}, "step": 3})
    ...     files.load(f"{folder}/a.safetensors")
    {'model': {'w': array([1., 1.])}, 'step': 3}
    """
    arrays, text = pack(state)
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "recurra_version": _core.version(),
        "state": text,
    }
    checkpoint.save(path, arrays, metadata | {"sha256": _digest(arrays, metadata)})


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save` wrote.

    A file of another kind or version, or one in which anything was changed, is a `ValueError`
    that names it.
    """
    arrays, metadata = checkpoint.load(path)
    found = metadata.get("format"), metadata.get("format_version")
    if found != (FORMAT, VERSION):
        raise ValueError(
            f"checkpoint: {path}: expected format {FORMAT} {VERSION}, got {found[0]} {found[1]}"
        )
    if metadata.pop("sha256", None) != _digest(arrays, metadata):
        raise ValueError(
            f"checkpoint: {path}: expected the content that was written, got a damaged file: "
            "its digest does not agree"
        )
    try:
        state: dict[str, Any] = unpack(arrays, metadata["state"])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"checkpoint: {path}: expected the state of a training, got another ({error!r})"
        ) from error
    return state


def load_model(path: str | os.PathLike[str], averaged: bool = False) -> dict[str, NDArray[Any]]:
    """The model's arrays in a checkpoint, for `Module.load_state_dict`.

    `averaged` takes those that `recurra.train.AveragedWeights` averaged.
    """
    state = load(path)
    model: dict[str, NDArray[Any]] = state["model"]
    if averaged:
        kept = [kept for kind, kept in state["callbacks"] if kind == "AveragedWeights"]
        if len(kept) != 1:
            raise ValueError(
                f"load_model: averaged: expected a checkpoint with averaged weights, got {path} "
                f"with {len(kept) or 'none'}"
            )
        averages = kept[0]["average"].items()
        model |= {name[len(PREFIX) :]: a for name, a in averages if name.startswith(PREFIX)}
    return model


def _digest(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Of every name, dtype, shape and byte, whatever the order in the file."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(repr((name, array.dtype.name, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr(sorted(metadata.items())).encode())
    return digest.hexdigest()
