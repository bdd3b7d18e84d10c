"""What the plots share: a place to draw, numbers to draw, and pictures of matrices."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recurra.autograd import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes", "colour_bar", "image", "name_ticks", "numbers", "on_whole_numbers", "read_names"]


def axes(operation: str, ax: "Axes | None", rows: int = 1) -> "list[Axes]":
    """`ax`, or `rows` new ones below each other."""
    if ax is not None:
        return [ax]
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            f"{operation}: matplotlib: expected it to be installed, got none; "
            "pip install 'recurra[plot]'"
        ) from error
    height = 4.5 if rows == 1 else 1.6 * rows
    _, made = pyplot.subplots(
        rows, figsize=(7, height), squeeze=False, sharex=True, layout="constrained"
    )
    return [ax for (ax,) in made]


def numbers(operation: str, argument: str, value: object, letters: str) -> NDArray[np.float64]:
    """`value` as float64, with as many axes as `letters` names; None is NaN, a gap."""
    try:
        array = np.asarray(value.data if isinstance(value, Tensor) else value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{operation}: {argument}: expected numbers {letters}, got {error}"
        ) from error
    if array.ndim != letters.count(",") + (not letters.endswith(",)")):
        raise ValueError(f"{operation}: {argument}: expected shape {letters}, got {array.shape}")
    return array


def image(ax: "Axes", values: NDArray[np.float64], **options: Any) -> Any:
    """A matrix in colours: around a white 0 where there are negative values."""
    low, high = _span(values)
    if low < 0:
        far = max(-low, high)
        colours = {"cmap": "RdBu_r", "vmin": -far, "vmax": far}
    else:
        colours = {"cmap": "viridis", "vmin": 0.0, "vmax": high}
    shown: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", **colours, **options}
    return ax.imshow(values, **shown)


def colour_bar(ax: "Axes", shown: Any) -> None:
    """The scale of an image beside it."""
    if ax.figure is not None:
        ax.figure.colorbar(shown, ax=ax)


def read_names(
    operation: str, argument: str, names: Sequence[object] | None, n: int
) -> list[str] | None:
    """`n` names as text; None stays."""
    if names is not None and len(names) != n:
        raise ValueError(f"{operation}: {argument}: expected {n} names, got {len(names)}")
    return None if names is None else [str(name) for name in names]


def name_ticks(axis: Any, names: list[str] | None) -> None:
    """A name at each place of an axis, or its number."""
    if names is None:
        on_whole_numbers(axis)
    else:
        axis.set_ticks(range(len(names)), labels=names)


def on_whole_numbers(*axes: Any) -> None:
    """Marks at whole numbers only: there is no step 1.5."""
    for axis in axes:
        axis.get_major_locator().set_params(integer=True)


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
