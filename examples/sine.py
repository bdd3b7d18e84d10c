"""The next value of a sine wave from the 50 before it, by an LSTM of 32 units.

python examples/sine.py [EPOCHS]
"""

import sys

import numpy as np

import recurra
from recurra.data import create_sequences, time_split
from recurra.train import evaluate, fit

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 10

recurra.manual_seed(0)
wave = np.sin(np.arange(4000, dtype=np.float32) / 10)[:, None]
parts = time_split(wave, validation=0.1, test=0.1)
train, validation, test = (create_sequences(part, 50) for part in parts)

model = recurra.Sequential(recurra.LSTM(1, 32), recurra.GlobalPool1d("last"), recurra.Linear(32, 1))
print(model.summary((32, 50, 1)))


def loss(forecast: recurra.Tensor, truth: np.ndarray) -> recurra.Tensor:
    return recurra.mse(forecast, truth[:, 0])


optimizer = recurra.Adam(model.parameters(), lr=0.005)
history = fit(model, train, loss, optimizer, epochs=epochs, validation=validation, clip_norm=1.0)
print("mean squared error on validation:", *(f"{x:.1e}" for x in history["validation_loss"]))
print(f"on the test: {evaluate(model, test, loss)['loss']:.1e}")
