"""Which rows stand together in a batch, and in which order an epoch reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recurra.data.batch import Lengths
from recurra.data.order import Indices, check_epoch, permutation

__all__ = ["Plan", "cut_by_count", "cut_by_tokens"]

Cuts = Sequence[slice]


@dataclass(frozen=True, eq=False)
class Plan:
    """Rows in the order of an epoch, cut into batches at places that no epoch changes.

    With `keys (n,)` the rows are sorted by them, rows of equal keys in a random order if `shuffle`
    is set. The sorted keys are the same in every epoch, so the cuts fit all of them; the batches
    themselves then come in a random order too.

    >>> from recurra.data.plan import Plan, cut_by_count
    >>> list(Plan(5, cut_by_count(5, 2)).epoch(0))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """

    size: int
    cuts: Cuts
    shuffle: bool = False
    seed: int = 0
    keys: Lengths | None = None

    def epoch(self, number: int) -> Iterator[slice | Indices]:
        """The rows of each batch: a slice where they follow each other, so that it makes a view."""
        number = check_epoch(number)
        if not self.shuffle and self.keys is None:
            return iter(self.cuts)
        rows = self._rows(number)
        return (rows[self.cuts[i]] for i in self._batches(number))

    def steps(self, operation: str, lengths: Lengths) -> list[int]:
        """The longest row of each batch, at least 1, if these are the same in every epoch.

        They are where rows are not shuffled, or only among rows of their own length.
        """
        order = self._settled(lengths)
        if order is None:
            raise ValueError(
                f"{operation}: steps: expected the same in every epoch, got shuffled rows of "
                "different lengths: use Sequences with bucket_width=1"
            )
        return [max(1, int(order[cut].max())) for cut in self.cuts]

    def _settled(self, lengths: Lengths) -> Lengths | None:
        """Lengths in the order that is cut, or None if that changes from epoch to epoch."""
        if self.keys is None:
            return None if self.shuffle and (lengths != lengths[0]).any() else lengths
        if self.shuffle and (self.keys != lengths).any():
            return None
        return lengths[np.argsort(self.keys, kind="stable")]

    def _rows(self, epoch: int) -> Indices:
        rows = permutation(self.size, self.seed, epoch) if self.shuffle else np.arange(self.size)
        if self.keys is None:
            return rows
        return rows[np.argsort(self.keys[rows], kind="stable")]

    def _batches(self, epoch: int) -> Indices:
        if self.shuffle and self.keys is not None:
            return permutation(len(self.cuts), self.seed, epoch, draw=1)
        return np.arange(len(self.cuts))


def cut_by_count(size: int, batch_size: int, drop_last: bool = False) -> list[slice]:
    """Cut `size` rows into batches of `batch_size`; a last, shorter one may be left out."""
    end = size - size % batch_size if drop_last else size
    return [slice(at, min(at + batch_size, end)) for at in range(0, end, batch_size)]


def cut_by_tokens(costs: Lengths, max_tokens: int, batch_size: int | None) -> list[slice]:
    """Cut rows of `costs (n,)` steps so that none has more than `max_tokens`, padding counted.

    >>> import numpy as np
    >>> from recurra.data.plan import cut_by_tokens
    >>> cut_by_tokens(np.array([1, 2, 3, 3]), max_tokens=6, batch_size=None)
    [slice(0, 2, None), slice(2, 4, None)]
    """
    cuts, start, longest = [], 0, 0
    for at, cost in enumerate(costs.tolist()):
        count, widest = at - start + 1, max(longest, cost)
        if at > start and (count * widest > max_tokens or count - 1 == batch_size):
            cuts.append(slice(start, at))
            start, widest = at, cost
        longest = widest
    return [*cuts, slice(start, len(costs))]
