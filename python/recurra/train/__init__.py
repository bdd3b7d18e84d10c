"""Training: `fit` and what goes with it.

>>> import tempfile, numpy as np
>>> import recurra
>>> from recurra import metrics
>>> from recurra.train import EarlyStopping, evaluate, fit
>>> rng = np.random.default_rng(0)
>>> x = rng.standard_normal((128, 10, 2), dtype=np.float32)  # (N, T, I)
>>> rises = (x[:, -1, 0] > x[:, 0, 0]).astype(int)
>>> class Classifier(recurra.Module):
...     def __init__(self):
...         self.rnn = recurra.LSTM(2, 16)
...         self.out = recurra.Linear(16, 2)
...
...     def forward(self, x):
...         y, _ = self.rnn(x)
...         return self.out(y[:, -1])
>>> recurra.manual_seed(0)
>>> model = Classifier()
>>> history = fit(
...     model,
...     (x[:96], rises[:96]),
...     recurra.cross_entropy,
...     recurra.Adam(model.parameters(), lr=0.01),
...     epochs=60,
...     validation=(x[96:], rises[96:]),
...     metrics=[metrics.Accuracy()],
...     clip_norm=1.0,
...     callbacks=[EarlyStopping(patience=10)],
... )
>>> found = evaluate(model, (x[96:], rises[96:]), recurra.cross_entropy, [metrics.Accuracy()])
>>> found["accuracy"] > 0.8, found["loss"] == min(history["validation_loss"])
(True, True)
"""

from recurra.train.averaged_weights import AveragedWeights as AveragedWeights
from recurra.train.averaged_weights import update_bn as update_bn
from recurra.train.callback import Callback as Callback
from recurra.train.checkpoints import Checkpoints as Checkpoints
from recurra.train.early_stopping import EarlyStopping as EarlyStopping
from recurra.train.files import load_model as load_model
from recurra.train.fitting import evaluate as evaluate
from recurra.train.fitting import fit as fit
from recurra.train.history import History as History
from recurra.train.loggers import CSVLogger as CSVLogger
from recurra.train.loggers import JSONLinesLogger as JSONLinesLogger
from recurra.train.lr_finder import LRCurve as LRCurve
from recurra.train.lr_finder import find_lr as find_lr
from recurra.train.progress import Progress as Progress
from recurra.train.run import Run as Run
from recurra.train.tensorboard import TensorBoard as TensorBoard

# Without it `import *` would bring the modules too, and `schedules` hide `recurra.schedules`.
__all__ = [
    "AveragedWeights",
    "CSVLogger",
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "History",
    "JSONLinesLogger",
    "LRCurve",
    "Progress",
    "Run",
    "TensorBoard",
    "evaluate",
    "find_lr",
    "fit",
    "load_model",
    "update_bn",
]
