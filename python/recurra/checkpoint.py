"""Arrays and text in one file: safetensors, written atomically, read without pickle.

A reader never sees half a file. The bytes go to a temporary file in the same folder, reach the
disk, and only then take the name; if anything fails before that, the old file is untouched and
the temporary one is gone. A process that is killed has no time for that: the next save of the same
file removes what it left. A temporary file is locked while it is written, so that the file of a
process that lives is never taken for such a one. Windows has no such locks: there it stays.
"""

import hashlib
import os
import platform
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks

LOCKS = sys.platform != "win32"
if LOCKS:
    import fcntl

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
    target = checks.path("checkpoint.save", "path", path)
    arrays = checks.mapping("checkpoint.save", "tensors", tensors, "arrays by name")
    given = {} if metadata is None else metadata
    texts = checks.mapping("checkpoint.save", "metadata", given, "texts by name")
    for name in (*arrays, *texts, *texts.values()):
        checks.instance("checkpoint.save", "tensors and metadata", name, str, "texts for names")
    data = _core.serialize_safetensors(dict(arrays), dict(texts))
    try:
        write_atomically(target, data)
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
    source = checks.path("checkpoint.load", "path", path)
    try:
        return _core.deserialize_safetensors(source.read_bytes())
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
    _remove_abandoned(target)
    temporary, file = _temporary(target)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if LOCKS:  # while it is locked; Windows renames closed files only
                temporary.replace(target)
        if not LOCKS:
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `target`, locked until it is closed."""
    while True:
        path = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
        # "x": a new file, so that the mode is the usual one and nobody else's file is opened.
        file = path.open("xb")
        if not LOCKS:
            return path, file
        with suppress(OSError):  # a file system without locks: then nobody removes anything
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        # Before it was locked it looked abandoned.
        if path.exists():
            return path, file
        file.close()


def _prefix(target: Path) -> str:
    """How the temporary files of a target begin, on this machine: locks may not reach another."""
    name = os.fsencode(target.name) + b"\0" + platform.node().encode()
    return f".recurra-{hashlib.sha256(name).hexdigest()[:16]}-"


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary files of `target` whose writers are dead: nobody has locked them."""
    if not LOCKS:
        return
    for path in target.parent.glob(f"{_prefix(target)}*.tmp"):
        with suppress(OSError):  # locked, gone, or not ours
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where folders can be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
