"""Sequences of different lengths, of which a batch takes some and pads them."""

from collections.abc import Sequence

import numpy as np

from recurra.data.batch import Lengths, Values
from recurra.data.order import Indices
from recurra.data.padding import as_sequences, check_fill, common_dtype, fill

__all__ = ["Ragged"]


class Ragged:
    """`n` sequences (T_i, ...), padded on the right with `padding_value` when they are taken.

    >>> from recurra.data.ragged import Ragged
    >>> Ragged("Sequences", "inputs", [[1, 2], [3], [4, 5, 6]]).take(slice(0, 2))
    array([[1, 2], [3, 0]])
    """

    def __init__(
        self, operation: str, argument: str, value: object, padding_value: float = 0
    ) -> None:
        self.arrays: Sequence[Values] = as_sequences(operation, argument, value)
        self.dtype = common_dtype(self.arrays)
        self.padding_value = padding_value
        self.lengths: Lengths = np.array([len(array) for array in self.arrays], np.int64)
        prefix = "target_" if argument == "targets" else ""
        check_fill(operation, f"{prefix}padding_value", padding_value, self.dtype)

    def __len__(self) -> int:
        return len(self.arrays)

    def take(self, rows: slice | Indices) -> Values:
        """The sequences of `rows` in one array (B, T, ...), a view if there is one of them alone.

        `T` is the longest of them, and at least 1: a step of padding harms no row.
        """
        arrays = self.arrays
        chosen = arrays[rows] if isinstance(rows, slice) else [arrays[i] for i in rows.tolist()]
        if len(chosen) == 1 and len(chosen[0]) > 0 and chosen[0].dtype == self.dtype:
            return chosen[0][None]
        steps = max(1, *map(len, chosen))
        return fill(chosen, steps, self.padding_value, self.dtype).values
