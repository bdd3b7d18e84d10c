"""Batches of rows of different lengths, padded as they are read."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Batch, Lengths, Values
from recurra.data.buckets import plan_sequences
from recurra.data.order import Indices
from recurra.data.ragged import Ragged

__all__ = ["Sequences"]

Column: TypeAlias = Ragged | Values


class Sequences:
    """Batches of `n` sequences, each batch padded on the right to its longest row.

    `inputs` is a list of arrays (T_i, ...), or a tuple of such lists for several inputs; a batch's
    `lengths` are those of the first. `targets` is a list of arrays (T_i, ...), a target a step;
    or an array (n, ...), a target a row; or a tuple of these. Lists of targets have the lengths of
    the inputs, unless `target_lengths` is set: then the targets of a batch are a tuple, and the
    lengths of each list stand behind it, as CTC and decoders need them. `weights` is (n,), or a
    list of (T_i,). `padding_value` stands behind the inputs of a row, `target_padding_value` behind
    its targets, and a weight of 0 behind its weights.

    A batch has `batch_size` rows, or at most `max_tokens` steps with their padding, or both. With
    `bucket_width`, rows whose lengths are rounded up to the same multiple of it stand together, so
    that little is padding: 1 mixes rows of equal lengths only, a larger width mixes more. If
    `shuffle` is set, the rows, those of a bucket and the order of such batches come from `seed` and
    the epoch's number. Shuffled rows keep to `max_tokens` only if they are in buckets. A last
    batch of fewer than `batch_size` rows is left out if `drop_last` is set, which is refused with
    `bucket_width` or `max_tokens`.

    A row that is alone in its batch is a view. A sequence may have no steps; a batch of such rows
    alone has one step of padding, of which a mean over steps cannot be taken.

    >>> import numpy as np
    >>> from recurra.data import Sequences
    >>> x = [np.ones((n, 1)) for n in (3, 1, 4, 2)]
    >>> data = Sequences(x, targets=[0, 1, 0, 1], batch_size=2, bucket_width=1)
    >>> for batch in data.epoch(0):
    ...     print(batch.inputs.shape, batch.targets, batch.lengths)
    (2, 2, 1) [1 1] [1 2]
    (2, 4, 1) [0 0] [3 4]
    """

    def __init__(
        self,
        inputs: object,
        targets: object,
        batch_size: int | None = None,
        *,
        max_tokens: int | None = None,
        bucket_width: int | None = None,
        weights: object = None,
        target_lengths: bool = False,
        padding_value: float = 0,
        target_padding_value: float = 0,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.inputs: Any = _columns("inputs", inputs, padding_value, ragged=True)
        first = self.inputs[0] if isinstance(inputs, tuple) else self.inputs
        self.lengths: Lengths = first.lengths
        self.targets: Any = _columns("targets", targets, target_padding_value)
        self.weights = None if weights is None else _weights(weights)
        self._target_lengths = checks.flag("Sequences", "target_lengths", target_lengths)
        check.each(self.inputs, lambda each: self._check_column("inputs", each, True))
        check.each(self.targets, lambda each: self._check_column("targets", each, target_lengths))
        if self.weights is not None:
            self._check_column("weights", self.weights, False)
        self._plan = plan_sequences(
            "Sequences",
            self.lengths,
            batch_size,
            max_tokens,
            bucket_width,
            checks.flag("Sequences", "shuffle", shuffle),
            seed,
            checks.flag("Sequences", "drop_last", drop_last),
        )

    def __len__(self) -> int:
        return len(self._plan.cuts)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, from 0."""
        return map(self._take, self._plan.epoch(number))

    @property
    def seed(self) -> int | None:
        """That of the order; None if rows are not shuffled."""
        return self._plan.seed if self._plan.shuffle else None

    @property
    def steps(self) -> Sequence[int]:
        """The steps of each batch, the same numbers in every epoch."""
        return self._plan.steps("Sequences", self.lengths)

    def _check_column(self, argument: str, column: Column, own_lengths: bool) -> None:
        check.check_rows("Sequences", argument, len(column), len(self.lengths))
        if own_lengths or not isinstance(column, Ragged):
            return
        bad = np.flatnonzero(column.lengths != self.lengths)
        if bad.size:
            row = bad[0]
            hint = "; see target_lengths" if argument == "targets" else ""
            raise ValueError(
                f"Sequences: {argument}[{row}]: expected {self.lengths[row]} steps as in inputs, "
                f"got {column.lengths[row]}{hint}"
            )

    def _take(self, rows: slice | Indices) -> Batch:
        return Batch(
            check.each(self.inputs, lambda each: each.take(rows)),
            self._take_targets(rows),
            self.lengths[rows],
            None if self.weights is None else _taken(self.weights, rows),
        )

    def _take_targets(self, rows: slice | Indices) -> Any:
        if not self._target_lengths:
            return check.each(self.targets, lambda each: _taken(each, rows))
        columns = self.targets if isinstance(self.targets, tuple) else (self.targets,)
        parts: list[Values] = []
        for column in columns:
            parts.append(_taken(column, rows))
            if isinstance(column, Ragged):
                parts.append(column.lengths[rows])
        return tuple(parts)


def _columns(argument: str, value: object, padding_value: float, ragged: bool = False) -> Any:
    check.check_several("Sequences", argument, value)
    return check.each(value, lambda each: _column(argument, each, padding_value, ragged))


def _column(argument: str, value: object, padding_value: float, ragged: bool) -> Column:
    """A list of arrays as sequences, everything else as an array of one element or row each."""
    if ragged or (isinstance(value, list) and any(np.ndim(each) > 0 for each in value)):
        return Ragged("Sequences", argument, value, padding_value)
    return check.as_rows("Sequences", argument, value)


def _weights(value: object) -> Column:
    if isinstance(value, list) and any(np.ndim(each) > 0 for each in value):
        for each in value:
            check.weights_array("Sequences", each)
    else:
        value = check.weights_array("Sequences", value)
    column = _column("weights", value, 0, ragged=False)
    shape = column.arrays[0].shape if isinstance(column, Ragged) else column.shape
    if len(shape) != 1:
        raise ValueError(
            f"Sequences: weights: expected shape (n,) or a list of (T,), got rows of {shape[1:]}"
        )
    return column


def _taken(column: Column, rows: slice | Indices) -> Values:
    return column.take(rows) if isinstance(column, Ragged) else column[rows]
