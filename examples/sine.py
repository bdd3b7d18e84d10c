"""The next value of a sine wave from the 50 before it, by an LSTM of 32 units.

python examples/sine.py [EPOCHS]
"""

import sys

import numpy as np

import recurra
from recurra.data import create_sequences, time_split
from recurra.train import evaluate, fit


def windows(dtype=np.float32):
    wave = np.sin(np.arange(4000, dtype=dtype) / 10)[:, None]
    return [create_sequences(part, 50) for part in time_split(wave, validation=0.1, test=0.1)]


def loss(forecast, truth):
    return recurra.mse(forecast, truth[:, 0])


def settings(dtype=np.float32):
    train, validation, _ = windows(dtype)
    recurra.manual_seed(0)
    lstm, out = recurra.LSTM(1, 32, dtype=dtype), recurra.Linear(32, 1, dtype=dtype)
    model = recurra.Sequential(lstm, recurra.GlobalPool1d("last"), out)
    optimizer = recurra.Adam(model.parameters(), lr=0.005)
    data = {"data": train, "validation": validation}
    return data | {"model": model, "loss": loss, "optimizer": optimizer, "clip_norm": 1.0}


if __name__ == "__main__":
    training, epochs = settings(), int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(training["model"].summary((32, 50, 1)))
    history = fit(**training, epochs=epochs)
    print("mean squared error on validation:", *(f"{x:.1e}" for x in history["validation_loss"]))
    print(f"on the test: {evaluate(training['model'], windows()[2], loss)['loss']:.1e}")
