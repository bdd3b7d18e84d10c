"""One long series read as parallel streams, for truncated backpropagation."""

from collections.abc import Iterator

from recurra import checks
from recurra.data import rows as check
from recurra.data.batch import Batch, Values
from recurra.data.chunks import cut
from recurra.data.order import check_epoch

__all__ = ["Streams"]


class Streams:
    """A long series cut into `B` streams side by side, read `window` steps at a time.

    Stream b is the b-th of `B` equal pieces of the series, and its window follows its window
    before: all batches but the first of an epoch carry the state. The last window is shorter where
    a piece is no multiple of `window`; fewer than `B` steps at the end belong to no piece.

    `values` (N, ...) is the series: numbers of characters, or features. Its targets are its own
    next values, or `targets` (N, ...), one for each step. A series too short for `B` = `batch_size`
    streams makes fewer. All batches are views.

    >>> import numpy as np
    >>> from recurra.data import Streams
    >>> for batch in Streams(np.arange(9), batch_size=2, window=3).epoch(0):
    ...     print(batch.inputs.tolist(), batch.targets.tolist(), batch.carries)
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]] False
    [[3], [7]] [[4], [8]] True
    """

    def __init__(
        self, values: object, batch_size: int, window: int, *, targets: object = None
    ) -> None:
        series = check.as_rows("Streams", "values", values)
        if targets is None:
            if len(series) < 2:
                raise ValueError("Streams: values: expected at least 2 steps, got 1")
            series, answers = series[:-1], series[1:]
        else:
            answers = check.as_rows("Streams", "targets", targets)
            if len(answers) != len(series):
                raise ValueError(
                    f"Streams: targets: expected {len(series)} steps as in values, "
                    f"got {len(answers)}"
                )
        self.window = checks.size("Streams", "window", window)
        self.rows = min(checks.size("Streams", "batch_size", batch_size), len(series))
        self.length = len(series) // self.rows
        self._whole = Batch(self._pieces(series), self._pieces(answers))

    rows: int
    """The streams there are: `B`, or fewer of a very short series."""
    length: int
    """The steps of each stream."""

    @property
    def steps(self) -> list[int]:
        """The steps of each batch."""
        return [min(self.window, self.length - at) for at in range(0, self.length, self.window)]

    def _pieces(self, series: Values) -> Values:
        used = self.rows * self.length
        return series[:used].reshape(self.rows, self.length, *series.shape[1:])

    def __len__(self) -> int:
        return (self.length + self.window - 1) // self.window

    def epoch(self, number: int) -> Iterator[Batch]:
        """The windows of the streams, in the only order that a state can follow."""
        check_epoch(number)
        return cut(self._whole, self.window)
