"""What is compared: the rows of the table, and the data of each."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Row:
    """One task: `step`, `forward` or `training` of a cell, with the letters of the package."""

    cell: str
    task: str
    B: int
    T: int
    I: int
    H: int
    layers: int = 1
    directions: int = 1
    ragged: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table, and as `--rows` searches it."""
        steps = "" if self.task == "step" else f" T{self.T}"
        tail = f" {self.layers} layers" * (self.layers > 1)
        tail += " bidirectional" * (self.directions > 1) + " ragged" * self.ragged
        return f"{self.cell} {self.task} B{self.B}{steps} I{self.I} H{self.H}{tail}"

    @cached_property
    def lengths(self) -> np.ndarray:
        """(B,) steps of each row: all, or 5 to T with one full row; of T = 100, 52 on average."""
        if not self.ragged:
            return np.full(self.B, self.T)
        lengths = np.random.default_rng(27).integers(min(5, self.T), self.T + 1, self.B)
        lengths[0] = self.T
        return lengths

    @property
    def flops(self) -> int:
        """Of the matrix products, padding left out; training has three times those of forward."""
        width, columns = self.H * self.directions, 0
        for layer in range(self.layers):
            columns += (self.I if layer == 0 else width) + self.H
        once = 2 * int(self.lengths.sum()) * GATES[self.cell] * width * columns
        return once * (3 if self.task == "training" else 1)


class Problem:
    """A row with its weights and data: the same for every contestant."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._rng = np.random.default_rng(0)
        self.weights = {name: self._weight(shape) for name, shape in self._shapes()}
        self.x = self._normal(row.B, row.T, row.I)
        # Zero past the lengths, so that who computes the padding as well finds the same gradients.
        self.dy = self.within(self._normal(row.B, row.T, row.H * row.directions))
        self.h = np.tanh(self._normal(row.B, row.H))
        self.c = self._normal(row.B, row.H)

    @property
    def cell_weights(self) -> tuple[np.ndarray, ...]:
        """The first layer's w_ih, w_hh, b_ih, b_hh."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return tuple(self.weights[name] for name in names)

    def within(self, y: np.ndarray) -> np.ndarray:
        """(B, T, ...) with zeros past each row's length."""
        return np.where(np.arange(self.row.T)[:, None] < self.row.lengths[:, None, None], y, 0)

    def _shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        row = self.row
        G = GATES[row.cell] * row.H
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for layer in range(row.layers):
            inputs = row.I if layer == 0 else row.H * row.directions
            for tail in (f"_l{layer}", f"_l{layer}_reverse")[: row.directions]:
                shapes += [
                    (f"weight_ih{tail}", (G, inputs)),
                    (f"weight_hh{tail}", (G, row.H)),
                    (f"bias_ih{tail}", (G,)),
                    (f"bias_hh{tail}", (G,)),
                ]
        return shapes

    def _weight(self, shape: tuple[int, ...]) -> np.ndarray:
        bound = self.row.H**-0.5
        return self._rng.uniform(-bound, bound, shape).astype(np.float32)

    def _normal(self, *shape: int) -> np.ndarray:
        return self._rng.standard_normal(shape, dtype=np.float32)


STEPS = [(1, 1, 64, 64), (1, 1, 128, 128)]
FORWARD = [
    (1, 100, 64, 128),
    (1, 100, 256, 256),
    (32, 50, 1, 32),
    (32, 100, 64, 64),
    (64, 100, 256, 256),
    (64, 100, 512, 512),
    (64, 50, 1024, 1024),
]
TRAINING = [
    (32, 50, 1, 32),
    (32, 100, 64, 64),
    (32, 50, 128, 128),
    (64, 100, 256, 256),
    (64, 100, 512, 512),
    (64, 50, 1024, 1024),
]
LONG = (32, 100, 128, 128)
SMALL = (4, 10, 8, 16)


def all_rows(quick: bool) -> list[Row]:
    """Every row; in quick mode one small row of each kind."""
    steps, forward, training, long = (
        ([(1, 1, 16, 16)], [SMALL], [SMALL], SMALL) if quick else (STEPS, FORWARD, TRAINING, LONG)
    )
    rows = []
    for cell in GATES:
        rows += [Row(cell, "step", *sizes) for sizes in steps]
        rows += [Row(cell, "forward", *sizes) for sizes in forward]
        rows += [Row(cell, "training", *sizes) for sizes in training]
        rows += [
            Row(cell, "training", *long, ragged=True),
            Row(cell, "training", *long, layers=2, directions=2),
        ]
    return rows


def matching(rows: list[Row], pattern: str | None) -> list[Row]:
    """Those whose name contains the regular expression, in upper or lower case."""
    found = [row for row in rows if re.search(pattern or "", row.name, re.IGNORECASE)]
    if not found:
        names = "\n  ".join(row.name for row in rows)
        raise SystemExit(f"compare: --rows: nothing matches {pattern!r} among\n  {names}")
    return found
