"""Optimizers, each one pass over a parameter in the core; clipping of gradients.

>>> import numpy as np
>>> import recurra
>>> model = recurra.Linear(1, 1)
>>> optimizer = recurra.Adam(model.parameters(), lr=0.1)
>>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
>>> for _ in range(200):
...     loss = recurra.mse(model(x), 3 * x - 1)
...     optimizer.zero_grad()
...     loss.backward()
...     _ = recurra.clip_grad_norm(model.parameters(), 1.0)
...     optimizer.step()
>>> round(loss.item(), 3)
0.0

A parameter whose `grad` is None is left alone, and its state too. Settings such as `optimizer.lr`
may be assigned between steps; groups of parameters may have their own (see `Optimizer`).
`recurra.schedules` changes them by the step, `recurra.averaging` averages the weights.

**Accumulated gradients.** `backward` adds to the gradients, so a large batch can be taken in parts:
each part's loss counts by its share, and one step follows.

>>> parts = np.split(x, 4)
>>> optimizer.zero_grad()
>>> for part in parts:
...     (recurra.mse(model(part), 3 * part - 1) / len(parts)).backward()
>>> optimizer.step()
"""

from recurra.optim.adam import Adam as Adam
from recurra.optim.adam import AdamW as AdamW
from recurra.optim.adaptive import Adadelta as Adadelta
from recurra.optim.adaptive import Adagrad as Adagrad
from recurra.optim.adaptive import RMSprop as RMSprop
from recurra.optim.base import Optimizer as Optimizer
from recurra.optim.clipping import clip_grad_norm as clip_grad_norm
from recurra.optim.clipping import clip_grad_value as clip_grad_value
from recurra.optim.lion import Lion as Lion
from recurra.optim.params import Parameters as Parameters
from recurra.optim.settings import Group as Group
from recurra.optim.sgd import SGD as SGD
from recurra.optim.variants import Adamax as Adamax
from recurra.optim.variants import NAdam as NAdam
from recurra.optim.variants import RAdam as RAdam
