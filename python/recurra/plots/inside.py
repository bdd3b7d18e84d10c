"""What a model looked at, what its gates did, and what becomes of gradients through time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from recurra import checks
from recurra.inspect import Activations
from recurra.plots.canvas import (
    axes,
    colour_bar,
    image,
    name_ticks,
    numbers,
    on_whole_numbers,
    read_names,
)
from recurra.results import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["activations", "attention", "gates", "gradient_norms", "saliency", "spectrum"]


def attention(
    weights: ArrayLike,
    ax: "Axes | None" = None,
    *,
    queries: Sequence[object] | None = None,
    keys: Sequence[object] | None = None,
) -> "Axes":
    """Attention weights (Tq, Tk) of one sequence: a row for each query, a column for each key.

    `queries` and `keys` are names for them, such as words.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> ax = plots.attention([[0.9, 0.1], [0.2, 0.8]], Figure().subplots(), keys=["the", "cat"])
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['the', 'cat']
    """
    values = numbers("attention", "weights", weights, "(Tq, Tk)")
    rows = read_names("attention", "queries", queries, values.shape[0])
    columns = read_names("attention", "keys", keys, values.shape[1])
    (ax,) = axes("attention", ax)
    name_ticks(ax.yaxis, rows)
    name_ticks(ax.xaxis, columns)
    colour_bar(ax, image(ax, values))
    ax.set(xlabel="key", ylabel="query")
    return ax


def saliency(
    values: ArrayLike, ax: "Axes | None" = None, *, names: Sequence[object] | None = None
) -> "Axes":
    """How much each input of one sequence mattered: `values` (T, I), time to the right.

    They are a row of what `recurra.inspect.saliency` finds; `names` are the features'.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> ax = plots.saliency([[0.0, -1.0]], Figure().subplots(), names=["load", "heat"])
    >>> ax.images[0].get_array().tolist()
    [[0.0], [-1.0]]
    """
    array = numbers("saliency", "values", values, "(T, I)")
    features = read_names("saliency", "names", names, array.shape[1])
    (ax,) = axes("saliency", ax)
    name_ticks(ax.yaxis, features)
    colour_bar(ax, image(ax, array.T))
    ax.set(xlabel="time step", ylabel="feature")
    on_whole_numbers(ax.xaxis)
    return ax


def activations(values: ArrayLike, ax: "Axes | None" = None, *, name: str = "") -> "Axes":
    """A gate or a state of one sequence: `values` (T, H), time to the right, a row for each unit.

    NaN, past the end of a row, stays white.

    >>> from matplotlib.figure import Figure
    >>> from recurra import plots
    >>> plots.activations([[0.0, 1.0], [0.5, 0.5]], Figure().subplots(), name="f").get_title()
    'f'
    """
    array = numbers("activations", "values", values, "(T, H)")
    (ax,) = axes("activations", ax)
    colour_bar(ax, image(ax, array.T))
    ax.set(title=name, xlabel="time step", ylabel="unit")
    on_whole_numbers(ax.xaxis, ax.yaxis)
    return ax


def gates(found: Activations, row: int = 0, axs: "Sequence[Axes] | None" = None) -> "list[Axes]":
    """Every gate and state of a layer, for one row of the batch: an `Axes` for each.

    `found` is of `recurra.inspect.activations`; the order is that of its gates, then `c` if there
    is one, then `h`. `axs` are as many Axes as there are of these.

    >>> import numpy as np
    >>> import recurra
    >>> from matplotlib.figure import Figure
    >>> layer = recurra.GRU(2, 4)
    >>> found = recurra.inspect.activations(layer, np.ones((1, 9, 2), np.float32))["l0"]
    >>> [ax.get_title() for ax in recurra.plots.gates(found, axs=Figure().subplots(4))]
    ['r', 'z', 'n', 'h']
    """
    shown: dict[str, Array] = dict(found.gates)
    shown |= {} if found.c is None else {"c": found.c}
    shown |= {"h": found.h}
    B = len(found.h)
    if not 0 <= checks.size("gates", "row", row, 0) < B:
        raise ValueError(f"gates: row: expected 0 <= row < B = {B}, got {row}")
    if axs is not None and len(axs) != len(shown):
        raise ValueError(f"gates: axs: expected {len(shown)} Axes, got {len(axs)}")
    places = axes("gates", None, len(shown)) if axs is None else axs
    pairs = zip(shown.items(), places, strict=True)
    drawn = [activations(values[row], ax, name=name) for (name, values), ax in pairs]
    for ax in drawn[:-1]:
        ax.set_xlabel("")  # the last one says it for all
    return drawn


def gradient_norms(
    norms: Mapping[str, ArrayLike],
    ax: "Axes | None" = None,
    *,
    radii: Mapping[str, Mapping[str, float]] | None = None,
) -> "Axes":
    """The norm of the gradient at every step, on a logarithmic scale: a curve for each layer.

    `norms` is of `recurra.inspect.gradient_norms`. A line that falls to the left vanishes, one
    that rises explodes; zeros are left out. `radii`, of `recurra.inspect.spectral_radius`, are
    named in the legend.

    >>> import recurra
    >>> from matplotlib.figure import Figure
    >>> norms, radii = {"l0": [0.01, 0.1, 1.0]}, {"l0": {"h": 0.1}}
    >>> ax = recurra.plots.gradient_norms(norms, Figure().subplots(), radii=radii)
    >>> ax.get_yscale(), ax.lines[0].get_label()
    ('log', 'l0, spectral radius 0.1')
    """
    curves = {name: numbers("gradient_norms", name, v, "(T,)") for name, v in norms.items()}
    missing = [name for name in curves if radii is not None and name not in radii]
    if missing:
        raise ValueError(f"gradient_norms: radii: expected those of {missing}, got none")
    (ax,) = axes("gradient_norms", ax)
    ax.set_yscale("log")
    for name, y in curves.items():
        label = name if radii is None else f"{name}, {_radius(radii[name])}"
        ax.plot(np.arange(len(y)), np.where(y > 0, y, np.nan), label=label)
    ax.set(xlabel="time step", ylabel="norm of the gradient at the state")
    on_whole_numbers(ax.xaxis)
    ax.grid(alpha=0.3)
    if curves:
        ax.legend()
    return ax


def spectrum(eigenvalues: Mapping[str, Array], ax: "Axes | None" = None) -> "Axes":
    """Eigenvalues of recurrent matrices in the complex plane, with the circle of radius 1.

    `eigenvalues` maps names to complex arrays (P,): those of one layer that
    `recurra.inspect.eigenvalues` finds, by gate.

    >>> import recurra
    >>> from matplotlib.figure import Figure
    >>> found = recurra.inspect.eigenvalues(recurra.GRU(2, 8))
    >>> ax = recurra.plots.spectrum(found["l0"], Figure().subplots())
    >>> [points.get_label() for points in ax.collections]
    ['r', 'z', 'n']
    """
    found = {name: np.asarray(values, np.complex128) for name, values in eigenvalues.items()}
    for name, values in found.items():
        if values.ndim != 1:
            raise ValueError(f"spectrum: {name}: expected shape (P,), got {values.shape}")
    (ax,) = axes("spectrum", ax)
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 181))
    ax.plot(circle.real, circle.imag, color="0.5", lw=1, label="radius 1")
    for name, values in found.items():
        ax.scatter(values.real, values.imag, s=12, label=name)
    ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _radius(gates: Mapping[str, float]) -> str:
    if len(gates) == 1:
        return f"spectral radius {next(iter(gates.values())):.3g}"
    return "spectral radii " + ", ".join(f"{name} {value:.3g}" for name, value in gates.items())
