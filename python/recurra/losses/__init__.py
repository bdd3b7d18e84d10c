"""Losses: functions from predictions and targets to one number to minimise.

Each is one node with its gradient in closed form, in float32 and float64, and takes

* `reduction`: "mean", "sum", or "none" for the loss of every element;
* `weights`: how much each target counts, finite numbers not below 0 or booleans. Their shape is
  what the shape of the losses begins with, so `(B,)` weighs sequences and `(B, T)` steps; along
  the other axes they repeat. A mean divides by the sum of the weights, not by their number, and
  refuses a sum of 0. Where a weight is 0 nothing is looked at: predictions and targets may be NaN
  there, and neither the loss nor any gradient changes by a bit.

Padding is a weight of 0, and `sequence_mask` makes such weights from lengths:

>>> import numpy as np
>>> from recurra import Tensor, losses
>>> prediction = Tensor([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]], requires_grad=True)
>>> target = np.array([[1.0, 4.0, 0.0], [3.0, 0.0, 0.0]])
>>> weights = losses.sequence_mask([2, 1], 3)
>>> loss = losses.mse(prediction, target, weights=weights)
>>> print(f"{loss.item():.4f}")
1.3333

Losses are tensors: several of them, weighted, are a sum, and one `backward` serves all.

>>> auxiliary = losses.l1(prediction, target, weights=weights)
>>> total = loss + 0.3 * auxiliary
>>> print(f"{total.item():.4f}")
1.5333

Sums are taken in order and in float64, so padding changes no bit of a loss. `cross_entropy` and
`mse` run in the core, with the same bits on every machine; the others are NumPy's, and as exact.
"""

from recurra.losses.classification import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from recurra.losses.classification import cross_entropy as cross_entropy
from recurra.losses.likelihood import gaussian_nll as gaussian_nll
from recurra.losses.likelihood import negative_binomial_nll as negative_binomial_nll
from recurra.losses.reduction import sequence_mask as sequence_mask
from recurra.losses.regression import huber as huber
from recurra.losses.regression import l1 as l1
from recurra.losses.regression import mse as mse
from recurra.losses.regression import quantile as quantile
