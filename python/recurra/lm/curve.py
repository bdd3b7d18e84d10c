"""The curve of a training as a picture, where matplotlib is installed."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from recurra.checkpoint import write_atomically

__all__ = ["draw"]


def draw(history: Sequence[Mapping[str, float]], path: Path) -> bool:
    """Write the curves of `Session.history` to a PNG file; False without matplotlib.

    >>> import tempfile, pathlib
    >>> from recurra.lm.curve import draw
    >>> history = [
    ...     {"characters": 1000, "train": 3.1, "validation": 3.0},
    ...     {"characters": 2000, "train": 2.5, "validation": 2.6},
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "curve.png")
    ...     draw(history, path) == path.exists()
    True
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    # A figure of its own, not pyplot's: no window, no state that others share.
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="characters read", ylabel="bits per character")
    for name in ("train", "validation"):
        x, y = [[point[key] for point in history] for key in ("characters", name)]
        axes.plot(x, y, marker=".", label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    write_atomically(path, png.getvalue())
    return True
