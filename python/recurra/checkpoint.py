"""Arrays and text in one file: safetensors, written atomically, read without pickle.

A reader never sees half a file. The bytes go to a temporary file in the same folder, reach the
disk, and only then take the name; if anything fails before that, the old file is untouched and
the temporary one is gone.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recurra import _core

__all__ = ["load", "save", "write_atomically"]

Array = NDArray[np.generic]


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays and texts, both by name, to a safetensors file: all or nothing.

    The arrays are float32, float64 or int64, of any shape. An existing file is replaced (a
    symbolic link keeps pointing to it), and the new one has the usual mode. If anything fails, an
    `OSError` that names the file, what was there is still there.

    >>> import tempfile, numpy as np
    >>> from recurra import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(f"{folder}/w.safetensors", {"w": np.ones(3)}, {"unit": "metre"})
    ...     checkpoint.load(f"{folder}/w.safetensors")
    ({'w': array([1., 1., 1.])}, {'unit': 'metre'})
    """
    data = _core.serialize_safetensors(dict(tensors), dict(metadata or {}))
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise OSError(error.errno, f"checkpoint.save: {error.strerror}", str(path)) from error


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays and the texts of a safetensors file, both by name.

    A file that is damaged, no safetensors file at all, or of dtypes that `save` does not write is
    a `ValueError` that names it.

    >>> import tempfile, pathlib
    >>> from recurra import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     damaged = pathlib.Path(folder, "w.safetensors")
    ...     _ = damaged.write_bytes(b"short")
    ...     checkpoint.load(damaged)
    Traceback (most recent call last):
    ValueError: checkpoint.load: ...w.safetensors: expected a whole safetensors file, got ...
    """
    try:
        return _core.deserialize_safetensors(Path(path).read_bytes())
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"checkpoint.load: {path}: expected a whole safetensors file, got another ({error})"
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Give `path` the content `data`, or leave everything as it was and raise `OSError`.

    >>> import tempfile, pathlib
    >>> from recurra.checkpoint import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(pathlib.Path(folder, "a"), b"content")
    ...     [(file.name, file.read_bytes()) for file in pathlib.Path(folder).iterdir()]
    [('a', b'content')]
    """
    target = path.resolve()
    temporary = target.with_name(f".recurra-{secrets.token_hex(8)}.tmp")
    try:
        # "x": a new file, so that the mode is the usual one and nobody else's file is opened.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where folders can be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
