"""Dropout: random zeros while training (Srivastava et al. 2014), of elements, channels or words.

Masks come from `recurra.random`. Each row of a batch has random numbers of its own: neither other
rows nor padding behind its steps change them. Row i is known by its place i, or by the number that
`rows` gives it, such as its place in the data set; then the order of the batch does not matter.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recurra import checks, random
from recurra.autograd import Operand, Tensor, as_tensor, node
from recurra.module import Module
from recurra.ops.reductions import checked_axis
from recurra.results import Array


class Dropout(Module):
    """While training, set each element to 0 with probability `p` and divide the rest by 1 - p.

    After `eval()` it returns its input.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.Dropout(0.5)
    >>> sorted(set(layer(np.ones(100, np.float32)).data.tolist()))
    [0.0, 2.0]
    >>> layer.eval()(np.ones(2, np.float32)).data
    array([1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = checks.within(type(self).__name__, "p", p, 0, 1)

    def forward(self, x: Tensor | Array, rows: object = None) -> Tensor:
        """x of any shape; `rows` (B,) are integers >= 0 that name the rows (see the module)."""
        x = as_tensor(type(self).__name__, "x", x)
        return dropout(x, self.p, rows=rows) if self.training else x

    def describe(self) -> str:
        return f"{self.p:g}"


class VariationalDropout(Dropout):
    """Dropout of whole channels: one mask for all time steps (Gal and Ghahramani 2016).

    Between recurrent layers it is variational or locked dropout; between convolutions, where it
    is known as spatial dropout (Tompson et al. 2015), it is the same: x (B, T, C) loses the
    channel c of the row b at every step, or at none.

    >>> import numpy as np
    >>> import recurra
    >>> y = recurra.VariationalDropout(0.5)(np.ones((2, 7, 3), np.float32)).data
    >>> bool((y == y[:, :1]).all())
    True
    """

    def forward(self, x: Tensor | Array, rows: object = None) -> Tensor:
        """x (B, T, C); `rows` (B,) are integers >= 0 that name the rows (see the module)."""
        x = as_tensor("VariationalDropout", "x", x)
        if x.ndim != 3:
            raise ValueError(f"VariationalDropout: x: expected shape (B, T, C), got {x.shape}")
        return dropout(x, self.p, shared=(1,), rows=rows) if self.training else x


class WordDropout(Module):
    """While training, replace each id with probability `p` by `unknown` (Bowman et al. 2016).

    It stands before an embedding, so that a model learns to do without each word. Ids equal to
    `padding_idx` stay. For words that vanish everywhere at once see `Embedding`.

    >>> import recurra
    >>> layer = recurra.WordDropout(0.5, unknown=1, padding_idx=0)
    >>> ids = layer([[7, 8, 9, 0]])
    >>> bool(((ids == [[7, 8, 9, 0]]) | (ids == 1)).all()), int(ids[0, 3])
    (True, 0)
    """

    def __init__(self, p: float, unknown: int, padding_idx: int | None = None) -> None:
        self.p = checks.within("WordDropout", "p", p, 0, 1)
        self.unknown = checks.size("WordDropout", "unknown", unknown, 0)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.padding_idx = checks.size("WordDropout", "padding_idx", padding_idx, 0)

    def forward(self, ids: object, rows: object = None) -> NDArray[np.int64]:
        """Integers of any shape, as new int64; `rows` as in `Dropout`."""
        index = checks.index_array("WordDropout", "ids", ids, 2**63)
        if self.training:
            if rows is None and index.ndim > 1:
                rows = np.arange(len(index))  # what a row draws does not depend on T
            mask = random.dropout_mask(index.shape, self.p, rows=rows)
            stays = index == (-1 if self.padding_idx is None else self.padding_idx)
            index[(mask == 0) & ~stays] = self.unknown
        return index

    def describe(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.p:g}, unknown={self.unknown}{padding}"


def dropout(x: Operand, p: float, shared: Sequence[int] = (), rows: object = None) -> Tensor:
    """x with each element 0 with probability `p`, else divided by 1 - p.

    Along the axes `shared`, elements live and die together: (1,) takes whole channels from
    (B, T, C), (2,) whole steps. `rows` (B,) are integers >= 0 that name the rows.

    >>> import numpy as np
    >>> from recurra import Tensor
    >>> from recurra.layers import dropout
    >>> y = dropout(Tensor(np.ones((2, 5, 4))), 0.5, shared=(2,)).data
    >>> bool((y == y[..., :1]).all())
    True
    """
    x = as_tensor("dropout", "x", x)
    given = checks.items("dropout", "shared", shared, "axes")
    held = {checked_axis("dropout", axis, x.ndim) % x.ndim for axis in given}
    lengths = [1 if axis in held else n for axis, n in enumerate(x.shape)]
    # What a row draws is fixed, unless it depends on T: then each row needs a stream of its own.
    if rows is None and x.ndim > 2 and 1 not in held:
        rows = np.arange(lengths[0])
    mask = random.dropout_mask(tuple(lengths), p, x.dtype, rows)
    return node("dropout", x.data * mask, (x, lambda g: g * mask))
