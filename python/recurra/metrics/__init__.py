"""Metrics: plain functions of arrays, and accumulators that see a data set batch by batch.

>>> import numpy as np
>>> from recurra import metrics
>>> metrics.accuracy(np.array([1, 0, 2]), np.array([1, 1, 2]))
0.6666666666666666
>>> from recurra.data import Batch
>>> mean = metrics.MAE()
>>> for outputs, targets in ([1.0, 2.0], [1.5, 2.0]), ([4.0], [3.0]):
...     mean.update(np.array(outputs), Batch(None, np.array(targets)))
>>> mean.compute()
0.5

Every accumulator has `update(outputs, batch)`, `compute()` and `reset()`, and counts what a loss
counts: steps within `batch.lengths`, each with its `batch.weights`. Sums are kept in float64.
"""

from recurra.metrics.auc import AUC as AUC
from recurra.metrics.auc import auc as auc
from recurra.metrics.base import Metric as Metric
from recurra.metrics.classification import F1 as F1
from recurra.metrics.classification import Accuracy as Accuracy
from recurra.metrics.classification import ConfusionMatrix as ConfusionMatrix
from recurra.metrics.classification import Precision as Precision
from recurra.metrics.classification import Recall as Recall
from recurra.metrics.classification import accuracy as accuracy
from recurra.metrics.classification import f1 as f1
from recurra.metrics.classification import precision as precision
from recurra.metrics.classification import recall as recall
from recurra.metrics.confusion import confusion_matrix as confusion_matrix
from recurra.metrics.editing import EditDistance as EditDistance
from recurra.metrics.editing import WordErrorRate as WordErrorRate
from recurra.metrics.editing import edit_distance as edit_distance
from recurra.metrics.editing import word_error_rate as word_error_rate
from recurra.metrics.likelihood import BitsPerCharacter as BitsPerCharacter
from recurra.metrics.likelihood import Perplexity as Perplexity
from recurra.metrics.likelihood import bits_per_character as bits_per_character
from recurra.metrics.likelihood import perplexity as perplexity
from recurra.metrics.regression import MAE as MAE
from recurra.metrics.regression import MAPE as MAPE
from recurra.metrics.regression import MASE as MASE
from recurra.metrics.regression import RMSE as RMSE
from recurra.metrics.regression import SMAPE as SMAPE
from recurra.metrics.regression import mae as mae
from recurra.metrics.regression import mape as mape
from recurra.metrics.regression import mase as mase
from recurra.metrics.regression import rmse as rmse
from recurra.metrics.regression import smape as smape
