"""The history as it grows, in a file: CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from recurra import checks
from recurra.checkpoint import write_atomically
from recurra.train.callback import Callback

if TYPE_CHECKING:
    from recurra.train.run import Run

__all__ = ["CSVLogger", "JSONLinesLogger"]


class _Logger(Callback):
    """Appends lines to a file; a training that goes on first drops what was written after it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checks.path(type(self).__name__, "path", path)
        self._file: TextIO | None = None

    def on_fit_begin(self, run: Run) -> None:
        try:
            kept = self._kept(run) if run.step and self.path.exists() else []
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{type(self).__name__}: {self.path}: expected the log of a training that is "
                f"resumed, got another file ({error!r})"
            ) from error
        write_atomically(self.path, "".join(kept).encode())
        self._file = self.path.open("a", encoding="utf-8", newline="")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _kept(self, run: Run) -> Iterable[str]:
        """The lines of the steps and epochs that are done.

        By step alone an epoch would stay whose last step was saved before its end.
        """
        raise NotImplementedError

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            self._file.flush()

    def _lines(self) -> list[str]:
        """Those that were written to the end: a last one may have been cut off."""
        text = self.path.read_bytes().decode("utf-8", errors="replace")
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


class CSVLogger(_Logger):
    """A line for each epoch: the numbers of the history under a header with their names.

    An existing file is replaced; a training that is resumed continues it.

    >>> import tempfile, pathlib, numpy as np
    >>> import recurra
    >>> from recurra.train import CSVLogger, fit
    >>> x = np.ones((4, 1), np.float32)
    >>> model = recurra.Linear(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "log.csv")
    ...     _ = fit(model, (x, x), recurra.mse, recurra.SGD(model.parameters(), 0.1),
    ...             callbacks=[CSVLogger(path)])
    ...     print(path.read_text().splitlines()[0])
    epoch,step,lr,loss,grad_norm,seconds
    """

    def on_fit_begin(self, run: Run) -> None:
        super().on_fit_begin(run)
        header = next(csv.reader(self._lines()), None)
        self._names = header

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        numbers = {name: value for name, value in row.items() if isinstance(value, float | int)}
        if self._names is None:
            self._names = list(numbers)
            self._write(_csv(self._names))
        if list(numbers) != self._names:
            raise ValueError(
                f"CSVLogger: {self.path}: expected the columns {self._names} of its header, "
                f"got {list(numbers)}"
            )
        self._write(_csv(list(numbers.values())))

    def _kept(self, run: Run) -> Iterable[str]:
        lines = self._lines()
        header = next(csv.reader(lines), [])
        if "step" not in header:
            return []
        rows = [dict(zip(header, row, strict=True)) for row in csv.reader(lines[1:])]
        return lines[:1] + [
            line
            for line, row in zip(lines[1:], rows, strict=True)
            if int(row["step"]) <= run.step and int(row["epoch"]) <= run.epoch
        ]


class JSONLinesLogger(_Logger):
    """A JSON object for each epoch, and with `every=n` one for every n-th step, too.

    Lines of steps have `step`, `lr`, `loss`, `grad_norm` and `seconds`, those of epochs
    everything in the history. An existing file is replaced; a training that is resumed continues
    it. NaN and infinity are written as null, which JSON has.

    >>> from recurra.train import JSONLinesLogger
    >>> JSONLinesLogger("log.jsonl", every=0)
    Traceback (most recent call last):
    ValueError: JSONLinesLogger: every: expected an int >= 1, got 0
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None) -> None:
        super().__init__(path)
        self.every = every if every is None else checks.size("JSONLinesLogger", "every", every)

    def on_step_end(self, run: Run) -> None:
        if self.every is not None and run.step % self.every == 0:
            row = {"step": run.step, "lr": run.optimizer.lr, "loss": run.loss}
            self._object(row | {"grad_norm": run.grad_norm, "seconds": run.seconds})

    def on_epoch_end(self, run: Run, row: dict[str, Any]) -> None:
        self._object(row)

    def _object(self, row: dict[str, Any]) -> None:
        plain = {name: _plain(value) for name, value in row.items()}
        self._write(json.dumps(plain, allow_nan=False) + "\n")

    def _kept(self, run: Run) -> Iterable[str]:
        rows = [(line, json.loads(line)) for line in self._lines()]
        return [
            line
            for line, row in rows
            if row["step"] <= run.step and row.get("epoch", 0) <= run.epoch  # a step has no epoch
        ]


def _csv(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
