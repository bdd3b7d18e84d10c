"""How a training went."""

from collections.abc import Iterator, Mapping
from typing import Any

from recurra.checks import REALS

__all__ = ["ALWAYS", "History"]

ALWAYS = ("epoch", "step", "lr", "loss", "grad_norm", "seconds")
"""The columns of every training."""


class History(Mapping[str, list[Any]]):
    """A column under each name, with a number for each epoch (or an array, if a metric is one).

    `epoch` (from 1), `step` (updates so far), `lr`, `loss` (the mean over the epoch, while it was
    learning), each metric under its name, the same of the validation with `validation_` before
    it, `grad_norm` (the mean before clipping) and `seconds` since the start. An epoch without a
    value has NaN.

    >>> from recurra.train import History
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"]
    [0.5, 0.25]
    >>> dict(history)
    {'epoch': [1, 2], 'loss': [0.5, 0.25]}
    """

    rows: list[dict[str, Any]]
    """The same epoch by epoch."""
    stopped: str = ""
    """Why the training ended before its last epoch; "" if it did not."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows = rows or []

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._names():
            raise KeyError(name)
        return [row.get(name, float("nan")) for row in self.rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"History({self.rows})"

    def curves(self) -> dict[str, list[float]]:
        """The losses and the metrics that are a number for each epoch: what is worth drawing.

        >>> from recurra.train import History
        >>> rows = [{"epoch": 1, "loss": 0.5, "f1": 0.2, "seconds": 1.0}, {"epoch": 2, "loss": 0.4}]
        >>> History(rows).curves()
        {'loss': [0.5, 0.4], 'f1': [0.2, nan]}
        """
        names = [name for name in self if name == "loss" or name not in ALWAYS]
        columns = {name: self[name] for name in names}
        return {n: c for n, c in columns.items() if all(isinstance(v, REALS) for v in c)}

    def _names(self) -> dict[str, None]:
        return {name: None for row in self.rows for name in row}
