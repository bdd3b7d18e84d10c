"""What grows while the rest stands still."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comparison.rows import Row

CELLS = ("LSTM", "GRU")
TASKS = ("forward", "training")


@dataclass(frozen=True)
class Axis:
    """The letter that grows, its values, and the sizes of the others; I is H."""

    letter: str
    values: tuple[int, ...]
    B: int
    T: int
    H: int

    def row(self, cell: str, task: str, value: int) -> Row:
        """One point."""
        sizes = {"B": self.B, "T": self.T, "H": self.H, self.letter: value}
        return Row(cell, task, sizes["B"], sizes["T"], sizes["H"], sizes["H"])

    def series(self) -> Iterator[list[Row]]:
        """For each cell and task the points, smallest first."""
        for cell in CELLS:
            for task in TASKS:
                yield [self.row(cell, task, value) for value in self.values]

    @property
    def fixed(self) -> str:
        """The others, for people."""
        others = {"B": self.B, "T": self.T, "I = H": self.H}
        others.pop("I = H" if self.letter == "H" else self.letter)
        tail = ", I = H" if self.letter == "H" else ""
        return ", ".join(f"{name} = {n}" for name, n in others.items()) + tail


SPEED = {
    "T": Axis("T", (10, 30, 100, 300, 1000, 3000, 10000), B=16, T=0, H=64),
    "B": Axis("B", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), B=0, T=50, H=128),
    "H": Axis("H", (16, 32, 64, 128, 256, 512, 1024, 2048), B=16, T=25, H=0),
}
MEMORY = {
    "T": Axis("T", (100, 300, 1000, 3000, 10000), B=16, T=0, H=64),
    "H": Axis("H", (64, 128, 256, 512, 1024), B=16, T=300, H=0),
}


def axes(table: dict[str, Axis], *, quick: bool) -> dict[str, Axis]:
    """Those of `SPEED` or `MEMORY`; in quick mode one small point each."""
    small = {"T": (4,), "B": (2,), "H": (8,)}
    if not quick:
        return table
    return {k: replace(axis, values=small[k], B=2, T=4, H=8) for k, axis in table.items()}
