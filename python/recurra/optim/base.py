"""What the optimizers share: groups of parameters, steps, state."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from recurra.autograd import Tensor
from recurra.graph import mark_update
from recurra.optim.members import Members, State, Together, gathered, ready
from recurra.optim.params import Grouped, grouped
from recurra.optim.settings import Group, Setting, checked, settings_of
from recurra.optim.state import Arrays, as_arrays, form_faults, refuse, value_faults
from recurra.results import Array

__all__ = ["Optimizer"]


class Optimizer:
    """What the optimizers share; each adds its settings, `moments` and `update`.

    `params` are leaf tensors that require grad, or pairs of a name and such a tensor
    (`model.named_parameters()`), or groups: mappings with such `params` and options of their own,
    where the others are those of the constructor. Tensors without names are numbered.

    >>> import recurra
    >>> model = recurra.Sequential(recurra.LSTM(3, 4), recurra.Linear(4, 1))
    >>> names = dict(model.named_parameters())
    >>> groups = [
    ...     {"params": [(n, p) for n, p in names.items() if p.ndim > 1], "weight_decay": 0.1},
    ...     {"params": [(n, p) for n, p in names.items() if p.ndim == 1], "lr": 2e-3},
    ... ]
    >>> optimizer = recurra.AdamW(groups, lr=1e-3, weight_decay=0)
    >>> [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    [(0.001, 0.1), (0.002, 0.0)]
    >>> optimizer.param_groups[0]["lr"] = 5e-4
    """

    lr = Setting(float)

    moments: Callable[[Mapping[str, Any]], tuple[str, ...]]
    """`moments(settings)`: the names of the arrays that are kept for each parameter."""

    update: Callable[[list[Array], list[Array], Mapping[str, Any], Together], None]
    """`update(values, grads, settings, state)` changes the parameters of a group and their moments
    in place. All are lists with a place for each parameter, also the values of `state`: the moments
    by name, and "step", which counts from 1."""

    def __init__(self, params: Grouped, **defaults: Any) -> None:
        self._defaults = checked(type(self), defaults)
        self.check(self._defaults)
        self.params: dict[str, Tensor] = {}
        self.param_groups: list[Group] = []
        self.varying = {"lr"}
        """Settings that a saved state brings along; the others must be the same."""
        self._state: dict[str, State] = {}
        self._members: dict[int, Members] = {}
        """Of groups that took a step: their parameters' states are here, not in `_state`."""
        for members, options in grouped(type(self).__name__, params):
            self._add(members, options)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take in further parameters: `{"params": ..., "lr": ...}`."""
        ((members, options),) = grouped(type(self).__name__, [group])
        if all(name.isdecimal() for name in members):
            members = {str(len(self.params) + i): p for i, p in enumerate(members.values())}
        self._add(members, options)

    def _add(self, members: dict[str, Tensor], options: Mapping[str, Any]) -> None:
        settings = self._defaults | checked(type(self), options)
        self.check(settings)
        tensors = {id(p): name for name, p in self.params.items()}
        for name, parameter in members.items():
            if name in self.params or id(parameter) in tensors:
                raise ValueError(
                    f"{type(self).__name__}: params: expected each name and tensor once, "
                    f"got {name} in two groups"
                )
        self.params |= members
        self.param_groups.append(Group(self, members, settings))

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that do not go together."""

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.params.values():
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        ready = [self._ready(i) for i in range(len(self.param_groups))]
        for i, (members, grads) in enumerate(ready):
            if grads:
                self._update(i, members, grads)

    def _ready(self, i: int) -> tuple[Members, list[Array]]:
        """The parameters of a group that have a gradient, which fits, and their gradients."""
        group, members = self.param_groups[i], self._members.get(i)
        if members and (grads := members.grads(len(group.params))):
            return members, grads
        found = ready(type(self).__name__, group.params)
        self._part(i)
        states = [
            self._state.get(name) or self.fresh_state(parameter, group.settings)
            for name, parameter in found.items()
        ]
        grads = [p.grad for p in found.values() if p.grad is not None]
        return gathered(found, states), grads

    def _update(self, i: int, members: Members, grads: list[Array]) -> None:
        """One step of the parameters of a group."""
        state = members.state | {"step": [step + 1 for step in members.state["step"]]}
        self.update(members.values, grads, self.param_groups[i].settings, state)
        members.state = state
        self._members[i] = members
        for parameter in members.parameters:
            parameter.version += 1
        mark_update()

    def _part(self, i: int) -> None:
        """Give the states of a group that are in lists back to their parameters."""
        if (members := self._members.pop(i, None)) is not None:
            for j, name in enumerate(members.names):
                self._state[name] = {key: values[j] for key, values in members.state.items()}

    def fresh_state(self, parameter: Tensor, settings: Mapping[str, Any]) -> State:
        """The state of a parameter before its first step."""
        zeros = {m: np.zeros(parameter.shape, parameter.dtype) for m in self.moments(settings)}
        return {"step": 0, **zeros}

    def state_dict(self) -> Arrays:
        """All that is needed to go on as if never stopped: named arrays, copied.

        The settings ("lr"; of several groups "groups.0.lr"), with several groups the "group.NAME"
        of each parameter, and for each parameter updated so far its "step.NAME" and moments.
        """
        for i in list(self._members):
            self._part(i)
        state = self._settings_arrays() | self._places()
        for name, kept in self._state.items():
            state |= {f"{key}.{name}": np.array(value) for key, value in kept.items()}
        return state

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` returned: all of it or, on an error, nothing.

        `lr` is taken over, too, and what a schedule varies. The other settings, and who is in
        which group, must be what this optimizer has.

        >>> import numpy as np
        >>> import recurra
        >>> w = recurra.Tensor(np.zeros(2), requires_grad=True)
        >>> saved = recurra.SGD([w], lr=0.5, momentum=0.9).state_dict()
        >>> optimizer = recurra.SGD([w], lr=0.1, momentum=0.9)
        >>> optimizer.load_state_dict(saved)
        >>> optimizer.lr
        0.5
        """
        operation = f"{type(self).__name__}.load_state_dict"
        arrays = as_arrays(operation, state)
        kept = self._fresh_states(arrays)
        own = self._settings_arrays() | self._places()
        wanted = own | {f"{k}.{n}": np.asarray(v) for n, s in kept.items() for k, v in s.items()}
        fixed = {name: a for name, a in own.items() if name.split(".")[-1] not in self.varying}
        faults = [*form_faults(wanted, arrays), *value_faults(fixed, arrays, "this optimizer")]
        refuse(operation, faults)
        refuse(operation, [*self._range_faults(kept, arrays)])
        for key, group, name in self._settings_keys():
            if name in self.varying:
                group[name] = float(arrays[key])
        for name, fresh in kept.items():
            fresh |= {key: _like(value, arrays[f"{key}.{name}"]) for key, value in fresh.items()}
        self._state = kept
        self._members.clear()

    def _fresh_states(self, arrays: Arrays) -> dict[str, State]:
        """States to be filled, for the parameters that a saved state knows."""
        fresh = {
            name: self.fresh_state(parameter, group.settings)
            for group in self.param_groups
            for name, parameter in group.params.items()
        }
        return {n: s for n, s in fresh.items() if any(f"{key}.{n}" in arrays for key in s)}

    def _range_faults(self, kept: Mapping[str, State], arrays: Arrays) -> Iterator[str]:
        for key, group, name in self._settings_keys():
            if name in self.varying:
                try:
                    group.changed({name: float(arrays[key])})
                except ValueError as error:
                    yield f"{key}: " + str(error).split(": ", 2)[-1]
        for name in kept:
            if arrays[f"step.{name}"] < 1:
                yield f"step.{name}: expected a number from 1 on, got {arrays[f'step.{name}']}"

    def _settings_keys(self) -> Iterator[tuple[str, Group, str]]:
        """Each setting's name in a saved state, its group and its name there."""
        saved = [name for name, s in settings_of(type(self)).items() if not s.implied]
        several = len(self.param_groups) > 1
        for i, group in enumerate(self.param_groups):
            prefix = f"groups.{i}." if several else ""
            yield from ((prefix + name, group, name) for name in saved)

    def _settings_arrays(self) -> Arrays:
        return {k: np.array(group[name], np.float64) for k, group, name in self._settings_keys()}

    def _places(self) -> Arrays:
        """Which group each parameter is in, if there are several."""
        if len(self.param_groups) == 1:
            return {}
        groups = enumerate(self.param_groups)
        return {f"group.{name}": np.array(i) for i, group in groups for name in group.params}


def _like(fresh: Any, saved: np.ndarray[Any, Any]) -> Any:
    """A saved part of a state, of the type that it has in a fresh one."""
    return saved.copy() if isinstance(fresh, np.ndarray) else type(fresh)(saved)
