"""Connectionist temporal classification: labels of a sequence without their places in time.

Graves, Fernandez, Gomez and Schmidhuber (2006). A network gives scores of `V` classes at each of
`T` steps; one class, the blank, stands for no label. The labels of a path are its classes without
repetitions and then without blanks, and the probability of labels is that of all their paths.

Arrays are batch first, like everything here: `torch.nn.functional.ctc_loss` takes (T, B, V), so
transpose its inputs. Scores may be logits or log-probabilities alike: the softmax is taken inside,
and it leaves log-probabilities as they are. All sums are in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks
from recurra.autograd import Tensor, any_requires_grad, as_tensor, node
from recurra.results import Array

__all__ = ["Hypothesis", "ctc_beam_decode", "ctc_greedy_decode", "ctc_loss"]

Integers = NDArray[np.int64]


class Hypothesis(NamedTuple):
    """A sequence of labels that decoding found."""

    labels: Integers
    """(S,): without blanks."""
    log_probability: float
    """In nats: of all paths that were looked at, or of the one path of greedy decoding."""


def ctc_loss(
    logits: Tensor | Array,
    targets: object,
    input_lengths: object = None,
    target_lengths: object = None,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the logarithm of the probability of each row's labels, in nats.

    Args:
        logits (B, T, V): any real scores, or log-probabilities (which PyTorch demands).
        targets (B, S): labels from 0 to V-1 but the blank, not read past a row's length; or those
            of all rows one after another (sum of target_lengths,).
        input_lengths (B,): steps of each row, from 0 to T; all T where absent.
        target_lengths (B,): labels of each row, from 0 to S; all S where absent.
        blank: the class that stands for no label.
        reduction: "mean" divides each row's loss by its number of labels, or by 1 if it has none,
            and takes the mean over rows, as PyTorch does; "sum"; or "none" for the losses (B,).
        zero_infinity: a row with fewer steps than its labels need has the loss infinity, and NaN as
            gradient; this makes both zero.

    Raises:
        TypeError, ValueError: for arguments that do not fit each other.

    The gradient comes with the value. NaN, or infinity as the largest logit of a step, makes a
    row's loss NaN.

    >>> import numpy as np
    >>> import recurra
    >>> logits = recurra.Tensor(np.zeros((2, 5, 4)), requires_grad=True)
    >>> loss = recurra.ctc_loss(logits, [[1, 2, 2], [3, 0, 0]], target_lengths=[3, 1])
    >>> print(f"{loss.item():.4f}")
    2.9426
    >>> loss.backward()
    >>> logits.grad.shape
    (2, 5, 4)
    """
    checks.one_of("ctc_loss", "reduction", reduction, ("none", "mean", "sum"))
    logits = _logits("ctc_loss", logits)
    batch = logits.shape[0]
    if reduction == "mean" and batch == 0:
        raise ValueError("ctc_loss: logits: expected at least one row for a mean, got none")
    labels, of_labels = _targets(targets, target_lengths, batch)
    weights = 1 / (np.maximum(of_labels, 1) * batch) if reduction == "mean" else None
    losses, total, gradient = _core.ctc_loss(
        logits.data,
        labels,
        _lengths("ctc_loss", "input_lengths", input_lengths),
        of_labels,
        _blank("ctc_loss", blank, logits.shape[2]),
        _flag("ctc_loss", "zero_infinity", zero_infinity),
        weights,
        any_requires_grad([logits]),
    )
    if reduction == "none":
        value = losses.astype(logits.dtype)
        return node("ctc_loss", value, (logits, lambda g: g[:, None, None] * gradient))
    return node("ctc_loss", np.asarray(total, logits.dtype), (logits, lambda g: g * gradient))


def ctc_greedy_decode(
    logits: Tensor | Array, input_lengths: object = None, *, blank: int = 0
) -> list[Hypothesis]:
    """The labels of the most probable path of each row.

    Args:
        logits (B, T, V): as for `ctc_loss`; of equal classes the first is taken.
        input_lengths (B,): steps of each row, from 0 to T; all T where absent.
        blank: the class that stands for no label.

    Returns:
        A `Hypothesis` for each row. The path is the most probable one; other labels, read off many
        paths, may be more probable: see `ctc_beam_decode`.

    >>> import numpy as np
    >>> import recurra
    >>> logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])
    >>> recurra.ctc_greedy_decode(logits)[0].labels
    array([], dtype=int64)
    """
    logits = _logits("ctc_greedy_decode", logits)
    lengths = _lengths("ctc_greedy_decode", "input_lengths", input_lengths)
    blank = _blank("ctc_greedy_decode", blank, logits.shape[2])
    return [Hypothesis(*row) for row in _core.ctc_greedy_decode(logits.data, lengths, blank)]


def ctc_beam_decode(
    logits: Tensor | Array, input_lengths: object = None, *, blank: int = 0, beam_width: int = 10
) -> list[list[Hypothesis]]:
    """The most probable labels of each row, by prefix beam search.

    Graves (2006, 2008), Hannun et al. (2014). Paths that read the same so far are one prefix; after
    every step the `beam_width` most probable prefixes are kept, of equals the shorter one first.

    Args:
        logits (B, T, V): as for `ctc_loss`.
        input_lengths (B,): steps of each row, from 0 to T; all T where absent.
        blank: the class that stands for no label.
        beam_width: prefixes that are kept.

    Returns:
        For each row its hypotheses, at most `beam_width`, best first. With a beam as wide as there
        are prefixes their probabilities are exact, else they lack what was dropped on the way.

    >>> import numpy as np
    >>> import recurra
    >>> logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])
    >>> for labels, log_probability in recurra.ctc_beam_decode(logits)[0]:
    ...     print(labels, f"{np.exp(log_probability):.2f}")
    [1] 0.64
    [] 0.36
    """
    logits = _logits("ctc_beam_decode", logits)
    lengths = _lengths("ctc_beam_decode", "input_lengths", input_lengths)
    blank = _blank("ctc_beam_decode", blank, logits.shape[2])
    width = checks.size("ctc_beam_decode", "beam_width", beam_width)
    rows = _core.ctc_beam_decode(logits.data, lengths, blank, width)
    return [[Hypothesis(*one) for one in row] for row in rows]


def _logits(operation: str, logits: Tensor | Array) -> Tensor:
    logits = as_tensor(operation, "logits", logits)
    if logits.ndim != 3:
        raise ValueError(f"{operation}: logits: expected shape (B, T, V), got {logits.shape}")
    return logits


def _lengths(operation: str, argument: str, lengths: object) -> Integers | None:
    return None if lengths is None else checks.integers(operation, argument, lengths)


def _blank(operation: str, blank: int, classes: int) -> int:
    blank = checks.size(operation, "blank", blank, 0)
    if blank >= classes:
        raise ValueError(
            f"{operation}: blank: expected an int from 0 to V-1 = {classes - 1}, got {blank}"
        )
    return blank


def _flag(operation: str, argument: str, value: object) -> bool:
    if not isinstance(value, bool):
        got = type(value).__name__
        raise TypeError(f"{operation}: {argument}: expected True or False, got {got}")
    return value


def _targets(targets: object, lengths: object, batch: int) -> tuple[Integers, Integers]:
    """The labels of all rows one after another, and how many each has."""
    labels = checks.integers("ctc_loss", "targets", targets)
    counts = _lengths("ctc_loss", "target_lengths", lengths)
    if labels.ndim == 2 and labels.shape[0] == batch:
        return _without_padding(labels, counts)
    if labels.ndim != 1:
        raise ValueError(
            f"ctc_loss: targets: expected shape (B, S) with B = {batch}, or (sum of "
            f"target_lengths,), got {labels.shape}"
        )
    if counts is None:
        raise ValueError("ctc_loss: target_lengths: expected (B,) for targets in a row, got None")
    return labels, counts


def _without_padding(labels: Integers, counts: Integers | None) -> tuple[Integers, Integers]:
    batch, most = labels.shape
    if counts is None:
        return labels.ravel(), np.full(batch, most, np.int64)
    checks.shape("ctc_loss", "target_lengths", counts, "(B,)", (batch,))
    bad = (counts < 0) | (counts > most)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"ctc_loss: target_lengths: expected integers from 0 to S = {most}, "
            f"got {counts[row]} in row {row}"
        )
    return labels[np.arange(most) < counts[:, None]], counts
