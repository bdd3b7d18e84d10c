"""Schedules of the learning rate, with PyTorch's names and rates.

>>> import numpy as np
>>> import recurra
>>> from recurra.schedules import CosineAnnealingLR, LinearLR, SequentialLR
>>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
>>> optimizer = recurra.Adam([w], lr=0.1)
>>> parts = [LinearLR(optimizer, 0.1, total_iters=5), CosineAnnealingLR(optimizer, T_max=95)]
>>> schedule = SequentialLR(optimizer, parts, milestones=[5])
>>> for _ in range(100):
...     optimizer.step()
...     schedule.step()
>>> round(optimizer.lr, 6)
0.0

All but `ReduceLROnPlateau` are functions of the number of steps: `schedule.rates(count)` tells any
of them beforehand, training that goes on from `state_dict` has the same rates to the bit, and so
has every machine. Load an optimizer's state when its schedule is there: what a schedule varies
besides the rate (`OneCycleLR` the momentum) is taken over only then.
"""

from recurra.schedules.base import Schedule as Schedule
from recurra.schedules.combined import ChainedScheduler as ChainedScheduler
from recurra.schedules.combined import SequentialLR as SequentialLR
from recurra.schedules.decay import ConstantLR as ConstantLR
from recurra.schedules.decay import CosineAnnealingLR as CosineAnnealingLR
from recurra.schedules.decay import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from recurra.schedules.decay import ExponentialLR as ExponentialLR
from recurra.schedules.decay import LambdaLR as LambdaLR
from recurra.schedules.decay import LinearLR as LinearLR
from recurra.schedules.decay import MultiStepLR as MultiStepLR
from recurra.schedules.decay import StepLR as StepLR
from recurra.schedules.one_cycle import OneCycleLR as OneCycleLR
from recurra.schedules.plateau import ReduceLROnPlateau as ReduceLROnPlateau
