"""A model in numbers, and as a table to read."""

from dataclasses import dataclass

__all__ = ["Row", "Summary"]


@dataclass
class Row:
    """One module of a `Summary`."""

    name: str
    """Its path by dots, as in `named_modules`: "" for the model itself."""
    layer: str
    """What it is: `GRU(8, 32)`."""
    output: tuple[int, ...] | None = None
    """The shape of what it put out last, the first of several; None if it was not called."""
    parameters: int = 0
    """Values to learn of its own, without those below it; a shared one counts where it is first."""
    kept_bytes: int = 0
    """What its operations keep for backward, without those of the modules below it."""


@dataclass(repr=False)
class Summary:
    """A model in numbers: `print` it, or let a prompt show it, for a table."""

    rows: list[Row]
    """The model, then every module below it."""
    parameter_bytes: int
    """All parameters; their gradients take as much again."""
    passing_bytes: int | None = None
    """What goes into the model and what comes out of it; None if no input was given."""
    kept_bytes: int | None = None
    """What one forward pass keeps for backward, each array once; None if no input was given."""

    @property
    def parameters(self) -> int:
        """The number of values to learn."""
        return sum(row.parameters for row in self.rows)

    @property
    def training_bytes(self) -> int | None:
        """Parameters, gradients, what goes in and out, and what is kept; None without input."""
        if self.passing_bytes is None or self.kept_bytes is None:
            return None
        return 2 * self.parameter_bytes + self.passing_bytes + self.kept_bytes

    def __repr__(self) -> str:
        is_run = self.kept_bytes is not None
        cells = [("layer", "parameters", *(("output", "kept for backward") if is_run else ()))]
        cells += [_cells(row, is_run) for row in self.rows]
        return "\n".join([*_aligned(cells), "", *self._totals()])

    def _totals(self) -> list[str]:
        lines = [("parameters", self.parameter_bytes, f", {self.parameters:,} values")]
        if self.kept_bytes is not None and self.passing_bytes is not None:
            lines += [
                ("gradients of parameters", self.parameter_bytes, ""),
                ("inputs and outputs", self.passing_bytes, ""),
                ("kept for backward", self.kept_bytes, ""),
                ("together", self.training_bytes or 0, _NOT_COUNTED),
            ]
        return [f"{name:<24} {_readable(size):>9}{more}" for name, size, more in lines]


_NOT_COUNTED = "; the optimizer's moments, the loss and working memory come on top"


def _cells(row: Row, is_run: bool) -> tuple[str, ...]:
    depth = row.name.count(".") + 1 if row.name else 0
    name = "  " * depth + (f"{row.name.rpartition('.')[2]}: " if row.name else "") + row.layer
    cells = (name, f"{row.parameters:,}" if row.parameters else "")
    if not is_run:
        return cells
    shape = "not called" if row.output is None else str(row.output)
    return (*cells, shape, _readable(row.kept_bytes) if row.kept_bytes else "")


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        pairs = zip(others, widths[1:], strict=True)
        lines.append("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in pairs)]).rstrip())
    return lines


def _readable(size: int) -> str:
    """`size` bytes in the unit that gives three digits or four: 1 kB is 1000 bytes."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.{0 if units[0] == 'B' else 1}f} {units[0]}"
