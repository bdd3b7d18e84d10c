"""What the tests of training share: small models, data and optimizers."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import recurra
from recurra.data import Batch

CELLS = {"RNN": recurra.RNN, "LSTM": recurra.LSTM, "GRU": recurra.GRU}
OPTIMIZERS: dict[str, Any] = {
    name: kind
    for name, kind in vars(recurra).items()
    if isinstance(kind, type) and issubclass(kind, recurra.optim.Optimizer)
}
OPTIMIZERS |= {"momentum": lambda p, lr: recurra.SGD(p, lr, momentum=0.9, nesterov=True)}


class Tagger(recurra.Module):
    """Labels for each step, with dropout, a state and lengths."""

    def __init__(self, cell: str = "GRU", inputs: int = 2, labels: int = 3) -> None:
        self.rnn = CELLS[cell](inputs, 5, num_layers=2, dropout=0.25)
        self.drop = recurra.Dropout(0.25)
        self.out = recurra.Linear(5, labels)

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        y, state = self.rnn(x, state, lengths)
        return self.out(self.drop(y)), state


class Windows:
    """A long sequence in windows (B, T, 2) that carry, or not; each epoch another sequence."""

    def __init__(self, count: int = 6, B: int = 3, T: int = 4, carries: bool = True) -> None:
        self.count, self.B, self.T, self.carries = count, B, T, carries

    def __len__(self) -> int:
        return self.count

    def epoch(self, number: int) -> Iterator[Batch]:
        x, y = rows(self.B, self.count * self.T, seed=number)
        for i in range(self.count):
            part = np.s_[:, i * self.T : (i + 1) * self.T]
            yield Batch(x[part], y[part], carries=self.carries and i > 0)


class Given:
    """The same batches in every epoch."""

    def __init__(self, *batches: Batch) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        return iter(self.batches)


def rows(B: int, T: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (B, T, 2), and for each step which of three thirds their sum so far is in."""
    x = np.random.default_rng(seed).standard_normal((B, T, 2)).astype(np.float32)
    total = x.sum(-1).cumsum(-1)
    return x, (total > -1).astype(np.int64) + (total > 1)


def bits(model: recurra.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def timeless(history: Any) -> list[dict[str, Any]]:
    """The rows of a history without the clock."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def tagger(cell: str = "GRU", optimizer: str = "Adam", seed: int = 0) -> tuple[Tagger, Any]:
    recurra.manual_seed(seed)
    model = Tagger(cell)
    return model, OPTIMIZERS[optimizer](model.parameters(), lr=0.01)
