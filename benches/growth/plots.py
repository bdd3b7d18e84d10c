"""The figures: one for each axis, and one each for threads and memory."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from comparison.contestants import OURS

from . import ways
from .axes import CELLS, MEMORY, SPEED, TASKS
from .select import memory_points, seconds_per_token, speed_points, speed_up

# A colour for each name, the same in every figure; ours stands out.
STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#c8102e", "linewidth": 2.4, "zorder": 3},
    ways.LOW: {"color": "#c8102e", "linestyle": "--", "zorder": 3},
    ways.WINDOWS: {"color": "#c8102e", "linestyle": ":", "linewidth": 2, "zorder": 3},
    "PyTorch": {"color": "#e07b00"},
    "ONNX Runtime": {"color": "#1f6fb4"},
    "OpenVINO": {"color": "#6a3d9a"},
    "JAX": {"color": "#2a8f4f"},
    "Keras": {"color": "#666666"},
}
WORDS = {
    "T": "time steps T",
    "B": "batch rows B",
    "H": "hidden units H",
}
Points = dict[str, list[tuple[float, float]]]


def draw(data: dict[str, Any], folder: Path) -> None:
    """Write every figure that the numbers allow as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    # The same numbers give the same file, and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "recurra", "svg.fonttype": "none"})
    matplotlib.rcParams.update({"axes.grid": True, "grid.color": "#dddddd", "font.size": 11})
    folder.mkdir(parents=True, exist_ok=True)
    for letter, axis in SPEED.items():
        title = f"Time per token over {WORDS[letter]} ({axis.fixed})"
        panels = {
            f"{cell} {task}": seconds_per_token(speed_points(data, letter, cell, task))
            for task in TASKS
            for cell in CELLS
        }
        scaled = {name: _scaled(points, 1e6) for name, points in panels.items()}
        _figure(folder / f"scaling_{letter}.svg", title, scaled, WORDS[letter], "µs per token")
    _draw_threads(data, folder)
    _draw_memory(data, folder)


def _draw_threads(data: dict[str, Any], folder: Path) -> None:
    threads = max((point["threads"] for point in data["speed"]), default=1)
    if threads == 1:
        return
    title = f"One thread's time over that of {threads} threads ({SPEED['H'].fixed})"
    panels = {
        f"{cell} {task}": speed_up(data, cell, task, threads) for task in TASKS for cell in CELLS
    }
    path = folder / "scaling_threads.svg"
    _figure(path, title, panels, WORDS["H"], f"times faster with {threads}", log=False)


def _draw_memory(data: dict[str, Any], folder: Path) -> None:
    panels = {
        f"{cell} over {letter} ({axis.fixed})": _scaled(memory_points(data, letter, cell), 1e-6)
        for letter, axis in MEMORY.items()
        for cell in CELLS
    }
    title = "Peak memory of a training step"
    labels = [WORDS["T"], WORDS["H"]]
    _figure(folder / "scaling_memory.svg", title, panels, labels, "MB beyond what was there")


def _scaled(points: Points, factor: float) -> Points:
    return {name: [(x, y * factor) for x, y in line] for name, line in points.items()}


def _figure(
    path: Path,
    title: str,
    panels: dict[str, Points],
    across: str | Sequence[str],
    up: str,
    *,
    log: bool = True,
) -> None:
    """Two panels by two, one legend."""
    if not any(panels.values()):
        return
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 8), sharex="row", layout="constrained")
    for i, (ax, (name, lines)) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        _panel(ax, name, lines, log=log)
        ax.set_xlabel(across if isinstance(across, str) else across[i // 2])
        ax.set_ylabel(up)
    figure.suptitle(title)
    handles = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
    order = [name for name in STYLES if name in handles]
    lines = [handles[name] for name in order]
    figure.legend(lines, order, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(ax: Any, name: str, lines: Points, *, log: bool) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    plot: Callable[..., Any] = ax.loglog if log else ax.semilogx
    for label, points in lines.items():
        style = {"marker": "o", "markersize": 4, "linewidth": 1.5, **STYLES.get(label, {})}
        plot(*zip(*points, strict=True), label=label, **style)
    if not log:
        ax.set_ylim(bottom=0)
    ax.set_title(name)
    measured = sorted({x for points in lines.values() for x, _ in points})
    ax.set_xticks(measured, [f"{x:g}" for x in measured])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
