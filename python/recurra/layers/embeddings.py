"""The embedding: a table of vectors, looked up and summed into by the core."""

import numpy as np
from numpy.typing import DTypeLike

from recurra import _core, checks, random
from recurra.autograd import Operand, Tensor, as_tensor, node
from recurra.module import Module, Parameter
from recurra.results import Array


class Embedding(Module):
    """A table of vectors, looked up by integers: ids (...) to (..., E).

    `weight` (V, E) has V = `num_embeddings` rows of length E = `embedding_dim`, initially normal
    with mean 0 and standard deviation 1. The row `padding_idx` starts at zero and gets no gradient.
    While training, each row is left out with probability `dropout`, for all its places in the
    batch at once, and the others are divided by 1 - dropout (Gal and Ghahramani 2016).

    >>> import numpy as np
    >>> import recurra
    >>> recurra.Embedding(10, 4)(np.array([[1, 2, 3], [9, 9, 0]])).shape
    (2, 3, 4)
    >>> recurra.Embedding(10, 4, padding_idx=0)([0, 0]).data.any()
    np.False_
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        dtype: DTypeLike = np.float32,
        *,
        padding_idx: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.num_embeddings = checks.size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = checks.size("Embedding", "embedding_dim", embedding_dim)
        kind = checks.float_dtype("Embedding", dtype)
        self.padding_idx = _row("Embedding", padding_idx, self.num_embeddings)
        self.dropout = checks.within("Embedding", "dropout", dropout, 0, 1)
        values = random.normal((self.num_embeddings, self.embedding_dim), dtype=kind)
        if self.padding_idx is not None:
            values[self.padding_idx] = 0
        self.weight = Parameter(values)

    def forward(self, ids: object) -> Tensor:
        """The rows of `weight` at `ids`: integers of any shape, from 0 to V-1."""
        p = self.dropout if self.training else 0.0
        return embedding(ids, self.weight, padding_idx=self.padding_idx, dropout=p)

    def describe(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        dropout = f", dropout={self.dropout:g}" if self.dropout else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{dropout}"


def embedding(
    ids: object, weight: Operand, *, padding_idx: int | None = None, dropout: float = 0.0
) -> Tensor:
    """The rows of `weight` (V, E) at the integers `ids` (...): (..., E).

    No gradient flows to the row `padding_idx`. With `dropout`, rows are left out as `Embedding`
    says.
    """
    weight = as_tensor("embedding", "weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight: expected shape (V, E), got {weight.shape}")
    rows, width = weight.shape
    skipped = _row("embedding", padding_idx, rows)
    p = checks.within("embedding", "dropout", dropout, 0, 1)
    index = checks.index_array("embedding", "ids", ids, rows)
    y = _core.embedding_forward(weight.data, index.ravel()).reshape(*index.shape, width)
    kept = random.dropout_mask(rows, p, weight.dtype)[index][..., None] if p else None

    def backward(g: Array) -> Array:
        g = g if kept is None else g * kept
        dw = _core.embedding_backward(g.reshape(index.size, width), index.ravel(), rows)
        if skipped is not None:
            dw[skipped] = 0
        return dw

    return node("embedding", y if kept is None else y * kept, (weight, backward))


def _row(operation: str, padding_idx: int | None, rows: int) -> int | None:
    """`padding_idx` from 0 to V-1; a negative one counts from the end, as PyTorch's does."""
    if padding_idx is None:
        return None
    found = checks.size(operation, "padding_idx", padding_idx, -rows)
    if found >= rows:
        raise ValueError(f"{operation}: padding_idx: expected an int < V = {rows}, got {found}")
    return found % rows
