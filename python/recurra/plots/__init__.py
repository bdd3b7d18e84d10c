"""Pictures of training and of what happens inside a model, where matplotlib is installed.

    history, forecast, confusion_matrix     how it went, and what came out
    attention, saliency                     what the model looked at
    activations, gates                      what its gates and states did
    gradient_norms, spectrum                whether gradients vanish or grow through time

`recurra.inspect` finds the numbers. Every function draws into the `Axes` that it is given as `ax`,
or into a figure of its own by `matplotlib.pyplot`, and returns the `Axes`; nothing is shown or
saved. matplotlib is imported when a figure is made (`pip install 'recurra[plot]'`); without it,
that raises ImportError. An array of a wrong shape raises ValueError.

>>> from matplotlib.figure import Figure
>>> from recurra import plots
>>> ax = plots.history({"train": [3.0, 2.0], "validation": [3.1, 2.2]}, Figure().subplots())
>>> [line.get_label() for line in ax.lines]
['train', 'validation']
"""

from recurra.plots.inside import activations as activations
from recurra.plots.inside import attention as attention
from recurra.plots.inside import gates as gates
from recurra.plots.inside import gradient_norms as gradient_norms
from recurra.plots.inside import saliency as saliency
from recurra.plots.inside import spectrum as spectrum
from recurra.plots.results import confusion_matrix as confusion_matrix
from recurra.plots.results import forecast as forecast
from recurra.plots.results import history as history
