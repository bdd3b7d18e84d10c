"""A character model: embedding, two LSTM layers of 128 units, truncated backpropagation.

python examples/characters.py [EPOCHS] [CHARACTERS]
"""

import math
import sys
from pathlib import Path

import numpy as np

import recurra
from recurra.data import Streams
from recurra.train import fit

epochs, size = (int(a) for a in (sys.argv[1:] + ["2", "200000"][len(sys.argv) - 1 :])[:2])

text = (Path(__file__).parent.parent / "data" / "shakespeare.txt").read_text("utf-8")[:size]
alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)


class CharacterModel(recurra.Module):
    def __init__(self, symbols: int) -> None:
        self.embedding = recurra.Embedding(symbols, 64)
        self.rnn = recurra.LSTM(64, 128, num_layers=2)
        self.out = recurra.Linear(128, symbols)

    def forward(self, x, state=None):
        y, state = self.rnn(self.embedding(x), state)
        return self.out(y), state


recurra.manual_seed(0)
model = CharacterModel(len(alphabet))
optimizer = recurra.Adam(model.parameters(), lr=0.003)
batches = Streams(ids, batch_size=32, window=64)
history = fit(model, batches, recurra.cross_entropy, optimizer, epochs=epochs, clip_norm=1.0)
print("bits per character:", *(f"{x / math.log(2):.3f}" for x in history["loss"]))
