"""All labellings of a short sequence, one by one, in plain NumPy: what CTC and the CRF sum over.

Nothing here is clever, nor taken from the package: paths are listed, scored and added up.
"""

import itertools
from collections.abc import Iterator

import numpy as np

__all__ = [
    "crf_best", "crf_log_probability", "crf_marginals", "crf_scores", "ctc_labels",
    "ctc_log_probabilities", "log_softmax",
]  # fmt: skip

Labels = tuple[int, ...]


def log_sum(logs: list[float]) -> float:
    """The logarithm of the sum of exponentials; minus infinity for none."""
    most = max(logs, default=-np.inf)
    if most == -np.inf:
        return -np.inf
    return float(most + np.log(np.sum(np.exp(np.array(logs) - most))))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


# ---- CTC: one row, logits (T, V)


def ctc_labels(path: Labels, blank: int) -> Labels:
    """A path without repetitions, then without blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def ctc_log_probabilities(logits: np.ndarray, blank: int = 0) -> dict[Labels, float]:
    """The log probability of every sequence of labels that some path of T steps reads."""
    steps, classes = logits.shape
    log_p = log_softmax(logits) if steps else logits
    found: dict[Labels, list[float]] = {}
    for path in itertools.product(range(classes), repeat=steps):
        of_path = float(sum(log_p[t, label] for t, label in enumerate(path)))
        found.setdefault(ctc_labels(path, blank), []).append(of_path)
    return {labels: log_sum(paths) for labels, paths in found.items()}


# ---- CRF: one row, emissions (T, K)

Model = tuple[np.ndarray, np.ndarray, np.ndarray]
"""transitions (K, K), start (K,), end (K,)"""


def score(emissions: np.ndarray, tags: Labels, model: Model) -> float:
    transitions, start, end = model
    total = float(start[tags[0]] + end[tags[-1]])
    total += sum(float(emissions[t, tag]) for t, tag in enumerate(tags))
    return total + sum(float(transitions[pair]) for pair in itertools.pairwise(tags))


def crf_scores(emissions: np.ndarray, model: Model) -> Iterator[tuple[Labels, float]]:
    """Every sequence of tags, the last step's changing fastest, and its score."""
    steps, count = emissions.shape
    for tags in itertools.product(range(count), repeat=steps):
        yield tags, score(emissions, tags, model)


def crf_log_probability(emissions: np.ndarray, tags: Labels, model: Model) -> float:
    log_z = log_sum([value for _, value in crf_scores(emissions, model)])
    return score(emissions, tags, model) - log_z


def crf_marginals(emissions: np.ndarray, model: Model) -> np.ndarray:
    """The probability of each tag at each step (T, K)."""
    scored = list(crf_scores(emissions, model))
    log_z = log_sum([value for _, value in scored])
    shares = np.zeros(emissions.shape)
    for tags, value in scored:
        shares[np.arange(len(tags)), list(tags)] += np.exp(value - log_z)
    return shares


def crf_best(emissions: np.ndarray, model: Model) -> tuple[Labels, float]:
    """The highest score; of equal ones the one whose tags are lowest, the last tag first."""
    scored = crf_scores(emissions, model)
    tags, value = min(scored, key=lambda pair: (-pair[1], pair[0][::-1]))
    return tags, value
