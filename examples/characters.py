"""A character model: embedding, two LSTM layers of 128 units, truncated backpropagation.

python examples/characters.py [EPOCHS] [CHARACTERS]
"""

import sys
from pathlib import Path

import numpy as np

import recurra
from recurra.data import Streams
from recurra.train import fit


class CharacterModel(recurra.Module):
    def __init__(self, symbols, dtype):
        self.embedding = recurra.Embedding(symbols, 64, dtype=dtype)
        self.rnn = recurra.LSTM(64, 128, num_layers=2, dtype=dtype)
        self.out = recurra.Linear(128, symbols, dtype=dtype)

    def forward(self, x, state=None):
        y, state = self.rnn(self.embedding(x), state)
        return self.out(y), state


def settings(size=200_000, dtype=np.float32):
    text = (Path(__file__).parent.parent / "data" / "shakespeare.txt").read_text("utf-8")[:size]
    alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)
    recurra.manual_seed(0)
    model = CharacterModel(len(alphabet), dtype)
    optimizer = recurra.Adam(model.parameters(), lr=0.003)
    data = {"data": Streams(ids, batch_size=32, window=64), "loss": recurra.cross_entropy}
    return data | {"model": model, "optimizer": optimizer, "clip_norm": 1.0}


if __name__ == "__main__":
    epochs, *size = [int(argument) for argument in sys.argv[1:]] or [2]
    history = fit(**settings(*size), epochs=epochs)
    print("bits per character:", *(f"{x / np.log(2):.3f}" for x in history["loss"]))
