"""Reading the arguments of `recurra.reference`: copied, checked, named in every error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._reference_cells import Arrays, Cell, Weights
from .results import Array

Shape = tuple[int, ...]


def read(where: str, value: ArrayLike | None, form: str, shape: Shape, dtype: Any) -> Array:
    """Return a copy of `value`; `where` and `form` are words for the error."""
    a: Array = np.array(value)
    if a.shape != shape:
        raise ValueError(f"{where}: expected shape {form} = {shape}, got {a.shape}")
    if a.dtype != dtype:
        raise ValueError(f"{where}: expected dtype {dtype} as x has, got {a.dtype}")
    return a


def read_lengths(operation: str, value: ArrayLike | None, B: int, T: int) -> NDArray[Any]:
    """Return `value` as an array of B valid lengths, T everywhere for None."""
    n = np.full(B, T) if value is None else np.array(value)
    if n.shape != (B,) or n.dtype.kind not in "iu" or (n < 0).any() or (n > T).any():
        raise ValueError(f"{operation}: lengths: expected {B} integers from 0 to {T}, got {n!r}")
    return n


def check_memory(operation: str, memory: object, save: bool) -> None:
    """Refuse what `recurra.functional` refuses; here everything is kept either way."""
    if memory not in ("keep", "low"):
        raise ValueError(f"{operation}: memory: expected 'keep' or 'low', got {memory!r}")
    if memory == "low" and not save:
        raise ValueError(f"{operation}: memory: expected 'keep' with save=False, got 'low'")


def read_inputs(
    operation: str,
    cell: Cell,
    form: str,
    x: ArrayLike,
    weights: Sequence[ArrayLike | None],
    state: Sequence[ArrayLike | None],
) -> tuple[Array, Weights, Arrays]:
    """Return copies of x, whose shape has as many letters as `form`, the weights and the state."""
    a = np.array(x)
    if a.ndim != form.count(",") + 1:
        raise ValueError(f"{operation}: x: expected shape {form}, got {a.shape}")
    if a.dtype not in (np.float32, np.float64):
        raise ValueError(f"{operation}: x: expected dtype float32 or float64, got {a.dtype}")
    w = _read_weights(operation, cell.gates, a, *weights)
    return a, w, read_state(operation, ("h0", "c0"), state, cell, w, a)


def _read_weights(
    operation: str,
    G: int,
    x: Array,
    w_ih: ArrayLike | None,
    w_hh: ArrayLike | None,
    b_ih: ArrayLike | None,
    b_hh: ArrayLike | None,
    w_hr: ArrayLike | None,
) -> Weights:
    H = _rows(w_ih) // G
    P, p = (H, "H") if w_hr is None else (_rows(w_hr), "P")
    rows = "H" if G == 1 else f"{G}*H"

    def weight(name: str, value: ArrayLike | None, form: str, shape: Shape) -> Array:
        return read(f"{operation}: {name}", value, form, shape, x.dtype)

    return Weights(
        weight("w_ih", w_ih, f"({rows}, I)", (G * H, x.shape[-1])),
        weight("w_hh", w_hh, f"({rows}, {p})", (G * H, P)),
        None if b_ih is None else weight("b_ih", b_ih, f"({rows},)", (G * H,)),
        None if b_hh is None else weight("b_hh", b_hh, f"({rows},)", (G * H,)),
        None if w_hr is None else weight("w_hr", w_hr, "(P, H)", (P, H)),
    )


def _rows(value: ArrayLike | None) -> int:
    return len(np.atleast_1d(np.asarray(value)))


def read_state(
    operation: str,
    names: Sequence[str],
    values: Sequence[ArrayLike | None],
    cell: Cell,
    w: Weights,
    x: Array,
) -> Arrays:
    """Return copies of what stands for h and c (the state, or its gradient), zeros for None."""
    B, H, P = len(x), len(w.w_hh) // cell.gates, w.w_hh.shape[1]
    forms, shapes = ("(B, H)" if w.w_hr is None else "(B, P)", "(B, H)"), ((B, P), (B, H))
    return tuple(
        np.zeros(shape, x.dtype)
        if value is None
        else read(f"{operation}: {name}", value, form, shape, x.dtype)
        for name, value, form, shape in zip(names, values, forms, shapes, strict=False)
    )
