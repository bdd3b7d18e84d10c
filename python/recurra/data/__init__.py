"""Data as a training reads it: batches, windows, padding, scaling and splitting in time.

`Arrays` has rows of one shape, `Sequences` rows of different lengths, `Streams` one long series;
`Chunks` cuts their batches in time. Each is a set of `Batches`. What is read in order is a view;
what is shuffled follows from a seed and the epoch's number, the same on every machine.

From a series to a forecast in its own units:

>>> import numpy as np
>>> import recurra
>>> from recurra.data import Arrays, StandardScaler, create_sequences, time_split
>>> recurra.manual_seed(0)
>>> series = 20 + 5 * np.sin(np.arange(600, dtype=np.float32) / 4)[:, None]
>>> parts = time_split(series, validation=0.2)
>>> scaler = StandardScaler().fit(parts.train)
>>> train, validation = (create_sequences(scaler.transform(part), 16) for part in parts[:2])
>>> gru, out = recurra.GRU(1, 16), recurra.Linear(16, 1)
>>> optimizer = recurra.Adam([*gru.parameters(), *out.parameters()], lr=0.01)
>>> data = Arrays(*train, batch_size=32, shuffle=True)
>>> for epoch in range(10):
...     for batch in data.epoch(epoch):
...         y, _ = gru(batch.inputs)
...         loss = recurra.mse(out(y[:, -1]), batch.targets[..., 0])
...         optimizer.zero_grad()
...         loss.backward()
...         optimizer.step()
>>> x, truth = validation
>>> y, _ = gru(x)
>>> forecast = scaler.inverse_transform(out(y[:, -1]).data)
>>> bool(abs(forecast - scaler.inverse_transform(truth[..., 0])).max() < 1)
True
"""

from recurra.data.arrays import Arrays as Arrays
from recurra.data.batch import Batch as Batch
from recurra.data.batch import Batches as Batches
from recurra.data.chunks import Chunks as Chunks
from recurra.data.huggingface import HuggingFaceTokenizer as HuggingFaceTokenizer
from recurra.data.padding import Padded as Padded
from recurra.data.padding import pad_sequences as pad_sequences
from recurra.data.padding import unpad_sequences as unpad_sequences
from recurra.data.scalers import MinMaxScaler as MinMaxScaler
from recurra.data.scalers import RobustScaler as RobustScaler
from recurra.data.scalers import Scaler as Scaler
from recurra.data.scalers import StandardScaler as StandardScaler
from recurra.data.sequences import Sequences as Sequences
from recurra.data.split import Split as Split
from recurra.data.split import blocked_folds as blocked_folds
from recurra.data.split import forward_folds as forward_folds
from recurra.data.split import random_split as random_split
from recurra.data.split import time_split as time_split
from recurra.data.streams import Streams as Streams
from recurra.data.tokenizer import Tokenizer as Tokenizer
from recurra.data.windows import create_sequences as create_sequences
from recurra.data.windows import sliding_windows as sliding_windows
