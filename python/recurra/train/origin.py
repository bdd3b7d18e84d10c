"""What a training is of, in words: what must be the same where it goes on."""

from collections.abc import Mapping
from typing import Any

from recurra import random
from recurra.data import Batches

__all__ = ["agree", "agree_all", "origin"]


def origin(optimizer: object, schedule: object, data: Batches) -> dict[str, Any]:
    """The classes that a state is of, the seed of the data, and the form of its first batch.

    The batch is read for it. That draws no random numbers: they are set back.

    >>> import numpy as np
    >>> from recurra.data import Arrays
    >>> from recurra.train.origin import origin
    >>> data = Arrays(np.zeros((5, 3)), np.arange(5), batch_size=2, shuffle=True, seed=7)
    >>> origin(None, None, data)["data's seed"]
    7
    >>> origin(None, None, data)["first batch"]
    'inputs float64 (2, 3), targets int64 (2,)'
    """
    return {
        "optimizer": type(optimizer).__name__,
        "schedule": _kind(schedule),
        "data's seed": _seed(data),
        "first batch": _first(data),
    }


def agree(what: str, had: object, has: object) -> None:
    """Refuse what is not as it was in the checkpoint."""
    if had != has:
        raise ValueError(f"fit: resume: expected {what} as in the checkpoint: {had}, got {has}")


def agree_all(had: Mapping[str, Any], has: Mapping[str, Any]) -> None:
    """Refuse another origin; a checkpoint of an earlier version has none."""
    for what, value in had.items():
        agree(what, value, has.get(what))


def _kind(schedule: Any) -> str:
    """The class of a schedule, and those of its parts."""
    if schedule is None:
        return "none"
    name, parts = type(schedule).__name__, getattr(schedule, "schedulers", ())
    return f"{name}({', '.join(map(_kind, parts))})" if parts else name


def _seed(data: Batches) -> int | None:
    seed = getattr(data, "seed", None)
    return seed if isinstance(seed, int) else None


def _first(data: Batches) -> str:
    drawn = random.get_state()
    batch = next(iter(data.epoch(0)), None)
    random.set_state(drawn)
    if batch is None:
        return "none"
    parts = [(name, part) for name, part in zip(batch._fields, batch, strict=True)]
    return ", ".join(f"{n} {_form(p)}" for n, p in parts if p is not None and n != "carries")


def _form(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_form, value))})"
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{value.dtype} {shape}"
