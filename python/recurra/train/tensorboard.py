"""Scalars for TensorBoard, in its own file format and without any other package.

A file of events is a sequence of records: the length of the data as 8 bytes, a checksum of those,
the data, a checksum of the data. The data is an `Event` in protocol buffers' wire format. The
checksum is CRC-32C, rotated and shifted (as TensorFlow's TFRecord has it).
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from recurra import checks
from recurra.train.callback import Callback

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["TensorBoard", "crc32c", "event"]


class TensorBoard(Callback):
    """Writes what `tensorboard --logdir folder` shows: a curve for each number of the history.

    Epochs are drawn over the step at their end; with `every=n` there are also the loss, the
    gradient's norm and the learning rate of every n-th step.

    >>> import tempfile, pathlib, numpy as np
    >>> import recurra
    >>> from recurra.train import TensorBoard, fit
    >>> x = np.ones((4, 1), np.float32)
    >>> model = recurra.Linear(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = fit(model, (x, x), recurra.mse, recurra.SGD(model.parameters(), 0.1),
    ...             callbacks=[TensorBoard(folder)])
    ...     [path.name[:19] for path in pathlib.Path(folder).iterdir()]
    ['events.out.tfevents']
    """

    def __init__(self, folder: str | os.PathLike[str], every: int | None = None) -> None:
        self.folder = checks.path("TensorBoard", "folder", folder)
        self.every = every if every is None else checks.size("TensorBoard", "every", every)
        self._file: BinaryIO | None = None

    def on_fit_begin(self, run: Run) -> None:
        """A new file: TensorBoard joins those of a folder, as after an interruption."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{secrets.token_hex(4)}"
        self._file = (self.folder / name).open("xb")
        self._record(event(time.time(), 0, version="brain.Event:2"))

    def on_step_end(self, run: Run) -> None:
        if self.every is not None and run.step % self.every == 0:
            lr = run.optimizer.lr
            values = {"step/loss": run.loss, "step/grad_norm": run.grad_norm, "step/lr": lr}
            self._record(event(time.time(), run.step, values))

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        values = {n: v for n, v in row.items() if isinstance(v, float | int) and n != "step"}
        self._record(event(time.time(), run.step, values))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _record(self, data: bytes) -> None:
        if self._file is not None:
            length = struct.pack("<Q", len(data))
            self._file.write(length + _masked(length) + data + _masked(data))
            self._file.flush()


def event(
    seconds: float, step: int, values: dict[str, float] | None = None, version: str = ""
) -> bytes:
    """An `Event`: wall_time = 1, step = 2, file_version = 3, summary = 5."""
    data = b"\x09" + struct.pack("<d", seconds) + b"\x10" + _varint(step)
    if version:
        data += _field(3, version.encode())
    summary = b"".join(_field(1, _value(name, value)) for name, value in (values or {}).items())
    return data + (_field(5, summary) if summary else b"")


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of `data`.

    >>> from recurra.train.tensorboard import crc32c
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    total = 0xFFFFFFFF
    for byte in data:
        total = (total >> 8) ^ _TABLE[(total ^ byte) & 0xFF]
    return total ^ 0xFFFFFFFF


def _value(name: str, value: float) -> bytes:
    """A `Summary.Value`: tag = 1, simple_value = 2, a float32."""
    number = float(value)
    inside = abs(number) < 3.4e38 or number != number
    single = struct.pack("<f", number if inside else float("inf") * (1 if number > 0 else -1))
    return _field(1, name.encode()) + b"\x15" + single


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, low ones first; the eighth says that more follow."""
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]
