"""Every loss with every option, as functions of tensors, for the tests of losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra import Tensor, losses

__all__ = ["CASES", "QUANTILES", "Case"]

QUANTILES = (0.1, 0.5, 0.75)
CLASSES = np.array([0.5, 1.0, 0.0, 2.0, 1.5])


@dataclass(frozen=True)
class Case:
    """A loss over (B, T) targets, or (B, T, F) of them."""

    name: str
    call: Callable[..., Tensor]
    draw: Callable[[np.random.Generator, tuple[int, ...]], list[np.ndarray]]
    """The arguments that get a gradient, for (B, T)."""
    targets: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None
    """The last argument, if it gets none."""

    def __str__(self) -> str:
        return self.name

    def arguments(
        self, shape: tuple[int, ...] = (3, 4), seed: int = 0
    ) -> tuple[list[np.ndarray], list[Any]]:
        """Return what gets a gradient, and what gets none."""
        rng = np.random.default_rng([seed, *shape])
        drawn = self.draw(rng, shape)
        return drawn, [] if self.targets is None else [self.targets(rng, shape)]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return list(rng.normal(size=(2, *shape, 2)))


def logits(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=(*shape, 5))]


def classes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(5, size=shape)


def softmax(name: str, **options: Any) -> Case:
    def call(z: Tensor, targets: np.ndarray, reduction: str, **weights: Any) -> Tensor:
        return losses.cross_entropy(z, targets, reduction, **options, **weights)

    return Case(name, call, logits, classes)


def probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=(*shape, 5)), rng.uniform(0.05, 0.95, size=(*shape, 5))]


def of_quantiles(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=(*shape, len(QUANTILES))), rng.normal(size=shape)]


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [*rng.normal(size=(2, *shape)), rng.uniform(0.2, 3, size=shape)]


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return list(rng.uniform(0.1, 3, size=(2, *shape)))


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.poisson(3, size=shape).astype(float)


CASES = [
    softmax("cross_entropy"),
    softmax("cross_entropy_ignore", ignore_index=1),
    softmax("cross_entropy_class_weights", class_weights=CLASSES),
    softmax("cross_entropy_smooth", label_smoothing=0.2),
    softmax("cross_entropy_all", ignore_index=3, class_weights=CLASSES, label_smoothing=0.2),
    Case("bce", losses.binary_cross_entropy_with_logits, probabilities),
    Case(
        "bce_pos_weight",
        lambda z, t, *a, **k: losses.binary_cross_entropy_with_logits(
            z, t, *a, pos_weight=CLASSES, **k
        ),
        probabilities,
    ),
    Case("mse", losses.mse, normal),
    Case("l1", losses.l1, normal),
    Case("huber", losses.huber, normal),
    Case("huber_delta", lambda *a, **k: losses.huber(*a, delta=0.3, **k), normal),
    Case("quantile", lambda p, t, *a, **k: losses.quantile(p, t, QUANTILES, *a, **k), of_quantiles),
    Case(
        "gaussian_nll",
        losses.gaussian_nll,
        gaussian,
    ),
    Case(
        "gaussian_nll_full",
        lambda m, t, v, *a, **k: losses.gaussian_nll(m, t, v, *a, full=True, **k),
        gaussian,
    ),
    Case(
        "negative_binomial_nll",
        lambda m, a, z, *rest, **k: losses.negative_binomial_nll(m, z, a, *rest, **k),
        positive,
        counts,
    ),
]
