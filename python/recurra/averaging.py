"""Averages of a model's weights: what is averaged over steps often generalises better.

>>> import numpy as np
>>> import recurra
>>> model = recurra.Linear(2, 1)
>>> optimizer = recurra.SGD(model.parameters(), lr=0.1)
>>> average = recurra.EMA(model, decay=0.9)
>>> x = np.ones((4, 2), np.float32)
>>> for _ in range(3):
...     optimizer.zero_grad()
...     recurra.mse(model(x), x[:, :1]).backward()
...     optimizer.step()
...     average.update(model)
>>> with average.applied(model):  # evaluate, or save, the averaged weights
...     y = model(x)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from recurra import _core, checks
from recurra.module import Module, Parameter
from recurra.optim.state import Arrays, as_arrays, form_faults, refuse, value_faults
from recurra.results import Array

__all__ = ["EMA", "SWA", "Average"]


class Average:
    """What the averages share; each adds `weight`, the part of the way to the new values.

    The first update takes the values as they are. Only parameters are averaged.
    """

    weight: Callable[[], float]

    def __init__(self, model: Module) -> None:
        self._averages = {name: p.data.copy() for name, p in model.named_parameters()}
        self.count = 0
        """The number of updates."""
        self._is_applied = False

    def update(self, model: Module) -> None:
        """Take in the model's values."""
        parameters = self._parameters("update", model)
        weight = self.weight() if self.count else 1.0
        if self.count:
            values = {name: parameter.data for name, parameter in parameters.items()}
            _core.blend_([self._averages[name] for name in values], [*values.values()], weight)
        else:
            for name, parameter in parameters.items():
                self._averages[name][...] = parameter.data
        self.count += 1

    @contextmanager
    def applied(self, model: Module) -> Iterator[None]:
        """The model has the averaged values inside the block, and its own again after it.

        What changes parameters inside the block is lost, and refused at its end.
        """
        parameters = self._parameters("applied", model)
        held = {name: p.data.copy() for name, p in parameters.items()}
        self._is_applied = True
        _write(parameters, self._averages)
        versions = {name: p.version for name, p in parameters.items()}
        try:
            yield
            changed = [name for name, p in parameters.items() if p.version != versions[name]]
        finally:
            _write(parameters, held)
            self._is_applied = False
        if changed:
            raise RuntimeError(
                f"{type(self).__name__}.applied: model: expected no updates inside the block, "
                f"got one of {', '.join(changed)}, which is lost"
            )

    def copy_to(self, model: Module) -> None:
        """Give the model the averaged values for good."""
        _write(self._parameters("copy_to", model), self._averages)

    def state_dict(self) -> Arrays:
        """All that is needed to go on: "count", settings, and "average.NAME", copied."""
        averages = {f"average.{name}": a.copy() for name, a in self._averages.items()}
        return {"count": np.array(self.count), **self._settings(), **averages}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` returned: all of it or, on an error, nothing."""
        arrays, own = as_arrays(state), self.state_dict()
        faults = [*form_faults(own, arrays), *value_faults(self._settings(), arrays, "this one")]
        if not faults and arrays["count"] < 0:
            faults.append(f"count: expected a number from 0 on, got {arrays['count']}")
        refuse(f"{type(self).__name__}.load_state_dict", faults)
        self.count = int(arrays["count"])
        self._averages = {name: arrays[f"average.{name}"].copy() for name in self._averages}

    def _settings(self) -> Arrays:
        return {}

    def _parameters(self, method: str, model: Module) -> dict[str, Parameter]:
        operation = f"{type(self).__name__}.{method}"
        if self._is_applied:
            raise RuntimeError(f"{operation}: expected to be outside of `applied`, got inside")
        parameters = dict(model.named_parameters())
        found: Arrays = {name: p.data for name, p in parameters.items()}
        if faults := [*form_faults(dict(self._averages), found)]:
            raise ValueError(f"{operation}: model: " + "; ".join(faults))
        return parameters


class EMA(Average):
    """An exponential moving average: a = decay * a + (1 - decay) * p.

    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992, in the form
    usual today.

    >>> import recurra
    >>> model = recurra.Linear(1, 1)
    >>> average = recurra.EMA(model, decay=0.75)
    >>> for value in (1, 2):
    ...     model.weight.data[...] = value
    ...     average.update(model)
    >>> with average.applied(model):
    ...     model.weight.data
    array([[1.25]], dtype=float32)
    >>> model.weight.data
    array([[2.]], dtype=float32)
    """

    def __init__(self, model: Module, decay: float = 0.999) -> None:
        self.decay = checks.within("EMA", "decay", decay, 0, 1)
        super().__init__(model)

    def weight(self) -> float:
        return 1 - self.decay

    def _settings(self) -> Arrays:
        return {"decay": np.array(self.decay, np.float64)}


class SWA(Average):
    """The mean of all values that were taken in, say one at the end of each epoch.

    Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018.

    >>> import recurra
    >>> model = recurra.Linear(1, 1)
    >>> average = recurra.SWA(model)
    >>> for value in (1, 2, 6):
    ...     model.weight.data[...] = value
    ...     average.update(model)
    >>> average.copy_to(model)
    >>> model.weight.data
    array([[3.]], dtype=float32)
    """

    def weight(self) -> float:
        return 1 / (self.count + 1)


def _write(parameters: Mapping[str, Parameter], values: Mapping[str, Array]) -> None:
    for name, parameter in parameters.items():
        parameter.data[...] = values[name]
        parameter.mark_updated()
