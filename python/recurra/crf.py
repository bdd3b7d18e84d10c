"""Linear-chain conditional random fields: an output layer that scores tags in their order.

Lafferty, McCallum and Pereira (2001); as the output of an LSTM: Huang et al. (2015), Lample et al.
(2016). The score of tags `y` is the sum of `start_transitions[y_0]`, of the emissions `[t, y_t]` of
all steps, of `transitions[y_(t-1), y_t]` between them, and of `end_transitions[y_(T-1)]`; their
probability is `exp(score)` over the sum of that for all sequences of tags. All sums are in float64.
Letters: `B` batch rows, `T` time steps, `K` tags.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from recurra import _core, checks, random
from recurra.autograd import Tensor, any_requires_grad, as_tensor, fused_node
from recurra.module import Module, Parameter
from recurra.results import Array

__all__ = ["CRF", "BestTags", "crf_decode", "crf_loss", "crf_marginals"]

Integers = NDArray[np.int64]


class BestTags(NamedTuple):
    """What `crf_decode` returns."""

    tags: Integers
    """(B, T): the tags with the highest score, -1 past a row's length."""
    scores: NDArray[np.float64]
    """(B,): their scores, 0 for a row of length 0."""


def crf_loss(
    emissions: Tensor | Array,
    tags: object,
    transitions: Tensor | Array,
    start_transitions: Tensor | Array,
    end_transitions: Tensor | Array,
    lengths: object = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the logarithm of the probability of each row's tags, in nats.

    Args:
        emissions (B, T, K): scores of each tag at each step.
        tags (B, T): integers from 0 to K-1, not read past a row's length.
        transitions (K, K): scores from the row's tag to the column's.
        start_transitions (K,): scores of the first tag.
        end_transitions (K,): scores of the last tag.
        lengths (B,): steps of each row, from 0 to T; all T where absent.
        reduction: "mean" over rows, "sum", or "none" for the losses (B,).

    Raises:
        TypeError, ValueError: for arguments that do not fit each other.

    A score of minus infinity forbids; forbidden tags have the loss infinity. Where every sequence
    is forbidden, or a score is NaN, the loss is NaN. A row of length 0 has the loss 0.

    >>> import numpy as np
    >>> import recurra
    >>> zeros = np.zeros(3)
    >>> loss = recurra.crf_loss(np.zeros((1, 2, 3)), [[0, 2]], np.zeros((3, 3)), zeros, zeros)
    >>> print(f"{np.exp(loss.item()):.4f}")  # 3 * 3 sequences, all alike
    9.0000
    """
    checks.one_of("crf_loss", "reduction", reduction, ("none", "mean", "sum"))
    parents = _tensors("crf_loss", emissions, transitions, start_transitions, end_transitions)
    batch, steps, _ = parents[0].shape
    if reduction == "mean" and batch == 0:
        raise ValueError("crf_loss: emissions: expected at least one row for a mean, got none")
    given = checks.integers("crf_loss", "tags", tags)
    checks.shape("crf_loss", "tags", given, "(B, T)", (batch, steps))
    given_lengths = _lengths("crf_loss", lengths)
    x, between, first, last = (parent.data for parent in parents)

    def compute(weights: Array | None, gradient: bool) -> Any:
        return _core.crf_loss(x, given, between, first, last, given_lengths, weights, gradient)

    if reduction == "none":
        # How much each row counts is only known when the gradient comes back.
        losses, _, _ = compute(None, False)
        value = losses.astype(parents[0].dtype)
        return fused_node(
            "crf_loss", (value,), parents, lambda g: compute(g.astype(np.float64), True)[2]
        )[0]
    weights = np.full(batch, 1 / batch) if reduction == "mean" else None
    _, total, gradients = compute(weights, any_requires_grad(parents))
    value = np.asarray(total, parents[0].dtype)
    return fused_node("crf_loss", (value,), parents, lambda g: [g * d for d in gradients])[0]


def crf_decode(
    emissions: Tensor | Array,
    transitions: Tensor | Array,
    start_transitions: Tensor | Array,
    end_transitions: Tensor | Array,
    lengths: object = None,
) -> BestTags:
    """The tags with the highest score (Viterbi 1967), and that score.

    Arguments are those of `crf_loss`. Of equal scores it takes the tag of the lowest number, from
    the last step to the first. NaN and infinity are refused; minus infinity forbids.

    >>> import numpy as np
    >>> import recurra
    >>> emissions = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> stay = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> recurra.crf_decode(emissions, stay, np.zeros(2), np.zeros(2))
    BestTags(tags=array([[0, 0]]), scores=array([3.]))
    """
    tensors = _tensors("crf_decode", emissions, transitions, start_transitions, end_transitions)
    x, between, first, last = (tensor.data for tensor in tensors)
    given_lengths = _lengths("crf_decode", lengths)
    return BestTags(*_core.crf_decode(x, between, first, last, given_lengths))


def crf_marginals(
    emissions: Tensor | Array,
    transitions: Tensor | Array,
    start_transitions: Tensor | Array,
    end_transitions: Tensor | Array,
    lengths: object = None,
) -> Array:
    """The probability of each tag at each step (B, T, K), zero past a row's length.

    Arguments are those of `crf_loss`. No gradient is recorded. Where every sequence is forbidden,
    or a score is NaN, a row's probabilities are NaN.

    >>> import numpy as np
    >>> import recurra
    >>> zeros = np.zeros(2)
    >>> recurra.crf_marginals(np.zeros((1, 1, 2)), np.zeros((2, 2)), zeros, zeros)
    array([[[0.5, 0.5]]])
    """
    tensors = _tensors("crf_marginals", emissions, transitions, start_transitions, end_transitions)
    x, between, first, last = (tensor.data for tensor in tensors)
    given_lengths = _lengths("crf_marginals", lengths)
    return _core.crf_marginals(x, between, first, last, given_lengths)


class CRF(Module):
    """A linear-chain conditional random field as the last layer of a tagger.

    `transitions` (K, K), `start_transitions` and `end_transitions` (K,) for K = `num_tags` start
    evenly spread within 0.1. `loss` trains it, and what made the emissions; `decode` is what the
    model says. For `recurra.train.fit` it is a part of the model, so that checkpoints have it:

    >>> import numpy as np
    >>> import recurra
    >>> from recurra.train import fit
    >>> class Tagger(recurra.Module):
    ...     def __init__(self):
    ...         self.rnn, self.out = recurra.LSTM(3, 8), recurra.Linear(8, 3)
    ...         self.crf = recurra.CRF(3)
    ...
    ...     def forward(self, x, lengths=None):
    ...         y, _ = self.rnn(x, lengths=lengths)
    ...         return self.out(y)
    >>> recurra.manual_seed(0)
    >>> x = np.random.default_rng(0).standard_normal((64, 6, 3), dtype=np.float32)
    >>> tags = x.argmax(-1)
    >>> model = Tagger()
    >>> optimizer = recurra.Adam(model.parameters(), lr=0.02)
    >>> history = fit(model, (x, tags), model.crf.loss, optimizer, epochs=20)
    >>> bool((model.crf.decode(model(x)).tags == tags).mean() > 0.9)
    True

    In a loop of your own it may stand beside it:

    >>> emit, crf = recurra.Linear(4, 3), recurra.CRF(3)
    >>> x, tags = np.ones((2, 5, 4), np.float32), np.zeros((2, 5), int)
    >>> loss = crf.loss(emit(x), tags, lengths=[5, 2])
    >>> loss.backward()
    >>> crf.transitions.grad.shape, emit.weight.grad.shape
    ((3, 3), (3, 4))
    >>> crf.decode(emit(x), lengths=[5, 2]).tags.shape
    (2, 5)
    """

    transitions: Parameter
    start_transitions: Parameter
    end_transitions: Parameter

    def __init__(self, num_tags: int, dtype: DTypeLike = np.float32) -> None:
        self.num_tags = k = checks.size("CRF", "num_tags", num_tags)
        kind = checks.float_dtype("CRF", dtype)
        self.transitions = Parameter(random.uniform((k, k), -0.1, 0.1, kind))
        self.start_transitions = Parameter(random.uniform((k,), -0.1, 0.1, kind))
        self.end_transitions = Parameter(random.uniform((k,), -0.1, 0.1, kind))

    def loss(
        self,
        emissions: Tensor | Array,
        tags: object,
        lengths: object = None,
        reduction: str = "mean",
    ) -> Tensor:
        """Minus the log-probability of `tags` (B, T) given `emissions` (B, T, K): `crf_loss`."""
        return crf_loss(emissions, tags, *self._scores(), lengths, reduction)

    def decode(self, emissions: Tensor | Array, lengths: object = None) -> BestTags:
        """The best tags (B, T), -1 past a row's length, and their scores (B,): `crf_decode`."""
        return crf_decode(emissions, *self._scores(), lengths)

    def marginals(self, emissions: Tensor | Array, lengths: object = None) -> Array:
        """The probability of each tag at each step (B, T, K): `crf_marginals`."""
        return crf_marginals(emissions, *self._scores(), lengths)

    def forward(self, emissions: Tensor | Array, lengths: object = None) -> BestTags:
        """What `decode` says."""
        return self.decode(emissions, lengths)

    def describe(self) -> str:
        return f"{self.num_tags}"

    def _scores(self) -> tuple[Parameter, Parameter, Parameter]:
        return self.transitions, self.start_transitions, self.end_transitions


def _tensors(
    operation: str,
    emissions: Tensor | Array,
    transitions: Tensor | Array,
    start_transitions: Tensor | Array,
    end_transitions: Tensor | Array,
) -> list[Tensor]:
    """The four arrays as tensors of one dtype and of shapes that fit."""
    first = as_tensor(operation, "emissions", emissions)
    if first.ndim != 3 or first.shape[2] == 0:
        raise ValueError(
            f"{operation}: emissions: expected shape (B, T, K) with K >= 1, got {first.shape}"
        )
    k, tensors = first.shape[2], [first]
    for name, letters, wanted, value in (
        ("transitions", "(K, K)", (k, k), transitions),
        ("start_transitions", "(K,)", (k,), start_transitions),
        ("end_transitions", "(K,)", (k,), end_transitions),
    ):
        tensor = as_tensor(operation, name, value, first.dtype)
        checks.shape(operation, name, tensor.data, letters, wanted)
        tensors.append(tensor)
    return tensors


def _lengths(operation: str, lengths: object) -> Integers | None:
    return None if lengths is None else checks.integers(operation, "lengths", lengths)
