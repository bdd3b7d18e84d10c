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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import _core, checks
from recurra.module import Buffer, Kept, Module, Parameter
from recurra.optim.state import Arrays, as_arrays, form_faults, refuse, value_faults

__all__ = ["EMA", "SWA", "Average"]


class Average:
    """What the averages share; each adds `weight`, the part of the way to the new values.

    The first update takes the values as they are. With `use_buffers`, buffers such as the running
    statistics of `BatchNorm` are averaged like parameters; a buffer of integers, a count, is that
    of the last update. Without it buffers are left alone, and `recurra.train.update_bn` can find
    the statistics that belong to averaged weights.
    """

    weight: Callable[[], float]

    def __init__(self, model: Module, *, use_buffers: bool = False) -> None:
        self.use_buffers = checks.flag(type(self).__name__, "use_buffers", use_buffers)
        checks.instance(type(self).__name__, "model", model, Module, "a Module")
        self._averages = {name: kept.data.copy() for name, kept in self._named(model).items()}
        self.count = 0
        """The number of updates."""
        self._is_applied = False

    def update(self, model: Module) -> None:
        """Take in the model's values."""
        found = self.checked("update", model)
        weight = self.weight() if self.count else 1.0
        blended = [name for name, kept in found.items() if self.count and kept.dtype.kind == "f"]
        values = [found[name].data for name in blended]
        _core.blend_([self._averages[name] for name in blended], values, weight)
        for name in found.keys() - set(blended):
            self._averages[name][...] = found[name].data
        self.count += 1

    @contextmanager
    def applied(self, model: Module) -> Iterator[None]:
        """The model has the averaged values inside the block, and its own again after it.

        What changes averaged values inside the block is lost, and refused at its end.
        """
        found = self.checked("applied", model)
        held = {name: kept.data.copy() for name, kept in found.items()}
        self._is_applied = True
        _write(found, self._averages)
        versions = {n: kept.version for n, kept in found.items() if isinstance(kept, Parameter)}
        try:
            yield
            changed = [name for name in found if self._is_changed(name, found[name], versions)]
        finally:
            _write(found, held)
            self._is_applied = False
        if changed:
            raise RuntimeError(
                f"{type(self).__name__}.applied: model: expected no updates inside the block, "
                f"got one of {', '.join(changed)}, which is lost"
            )

    def copy_to(self, model: Module) -> None:
        """Give the model the averaged values for good."""
        _write(self.checked("copy_to", model), self._averages)

    def state_dict(self) -> Arrays:
        """All that is needed to go on: "count", settings, and "average.NAME", copied."""
        averages = {f"average.{name}": a.copy() for name, a in self._averages.items()}
        return {"count": np.array(self.count), **self._settings(), **averages}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` returned: all of it or, on an error, nothing."""
        operation = f"{type(self).__name__}.load_state_dict"
        arrays, own = as_arrays(operation, state), self.state_dict()
        faults = [*form_faults(own, arrays), *value_faults(self._settings(), arrays, "this one")]
        if not faults and arrays["count"] < 0:
            faults.append(f"count: expected a number from 0 on, got {arrays['count']}")
        refuse(operation, faults)
        self.count = int(arrays["count"])
        self._averages = {name: arrays[f"average.{name}"].copy() for name in self._averages}

    def _settings(self) -> Arrays:
        return {}

    def checked(self, method: str, model: Module) -> dict[str, Kept]:
        """What is averaged of a model, by name; another model is refused."""
        operation = f"{type(self).__name__}.{method}"
        if self._is_applied:
            raise RuntimeError(f"{operation}: expected to be outside of `applied`, got inside")
        named = self._named(model)
        found: Arrays = {name: kept.data for name, kept in named.items()}
        if faults := [*form_faults(dict(self._averages), found)]:
            raise ValueError(f"{operation}: model: " + "; ".join(faults))
        return named

    def _named(self, model: Module) -> dict[str, Kept]:
        # Every name of a shared parameter, as in the model's own state.
        return dict(model._names(*((Parameter, Buffer) if self.use_buffers else (Parameter,))))

    def _is_changed(self, name: str, kept: Kept, versions: Mapping[str, int]) -> bool:
        if isinstance(kept, Parameter):
            return kept.version != versions[name]
        return not np.array_equal(kept.data, self._averages[name], equal_nan=True)


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

    def __init__(self, model: Module, decay: float = 0.999, *, use_buffers: bool = False) -> None:
        self.decay = checks.within("EMA", "decay", decay, 0, 1)
        super().__init__(model, use_buffers=use_buffers)

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


def _write(found: Mapping[str, Kept], values: Mapping[str, NDArray[Any]]) -> None:
    for name, kept in found.items():
        kept.data[...] = values[name]
        kept.mark_updated()
