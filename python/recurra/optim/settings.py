"""Options of optimizers, and the groups of parameters that have their own."""

import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from recurra import checks
from recurra.autograd import Tensor

if TYPE_CHECKING:
    from recurra.optim.base import Optimizer

__all__ = ["Group", "Setting", "checked", "settings_of"]

V = TypeVar("V", float, bool)


class Setting(Generic[V]):
    """An option as an attribute: the first group's value; assigning changes every group.

    Numbers are `low <= value < high`. `argument` is its name in error texts. One that is `implied`
    is not part of a saved state, where the names of the moments tell it.
    """

    def __init__(
        self,
        kind: type[V],
        *,
        high: float = math.inf,
        argument: str | None = None,
        implied: bool = False,
    ) -> None:
        self.kind: type = kind
        self.high = high
        self.argument, self.implied = argument, implied

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.argument = self.argument or name

    def checked(self, operation: str, value: Any) -> float | bool:
        argument = self.argument or self.name
        if self.kind is bool:
            return checks.flag(operation, argument, value)
        return checks.within(operation, argument, value, 0, self.high)

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, optimizer: "Optimizer", owner: type) -> V: ...
    def __get__(self, optimizer: "Optimizer | None", owner: type) -> Any:
        return self if optimizer is None else optimizer.param_groups[0][self.name]

    def __set__(self, optimizer: "Optimizer", value: V) -> None:
        for group in optimizer.param_groups:
            group.changed({self.name: value})
        for group in optimizer.param_groups:
            group[self.name] = value


def settings_of(kind: type) -> dict[str, Setting[Any]]:
    """The settings of a class of optimizers, inherited ones first."""
    found = [vars(base) for base in reversed(kind.__mro__)]
    return {k: v for names in found for k, v in names.items() if isinstance(v, Setting)}


def checked(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the names of settings: `betas` is two of them."""
    known, operation = settings_of(kind), kind.__name__
    flat = dict(options)
    if "betas" in flat and "beta1" in known:
        flat["beta1"], flat["beta2"] = _pair(operation, flat.pop("betas"))
    for name in flat:
        if name not in known:
            names = ", ".join(known)
            raise ValueError(f"{operation}: options: expected some of {names}; got {name!r}")
    return {name: known[name].checked(operation, value) for name, value in flat.items()}


def _pair(operation: str, betas: Any) -> tuple[float, float]:
    if isinstance(betas, tuple | list) and len(betas) == 2:
        return betas[0], betas[1]
    raise ValueError(f"{operation}: betas: expected two numbers, got {betas!r}")


class Group(MutableMapping[str, Any]):
    """Parameters that share settings: `group["lr"] = 0.1` is refused where the optimizer would be.

    `params` has the tensors by name, `group["params"]` the tensors.
    """

    def __init__(
        self, optimizer: "Optimizer", params: Mapping[str, Tensor], settings: Mapping[str, Any]
    ) -> None:
        self.params = dict(params)
        self.settings = dict(settings)
        self.initial_lr: float | None = None
        """What the first schedule found as `lr`: the base of all of them."""
        self._optimizer = optimizer

    def __getitem__(self, name: str) -> Any:
        return [*self.params.values()] if name == "params" else self.settings[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.settings = self.changed({name: value})

    def __delitem__(self, name: str) -> None:
        kind = type(self._optimizer).__name__
        raise TypeError(f"{kind}: options: expected all of them to stay, got del {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self.settings))

    def __len__(self) -> int:
        return 1 + len(self.settings)

    def __repr__(self) -> str:
        return f"Group({', '.join(self.params)}: {self.settings})"

    def changed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What a group would have with other options, checked."""
        optimizer, before = self._optimizer, self.settings
        after = before | checked(type(optimizer), options)
        optimizer.check(after)
        if optimizer.moments(after) != optimizer.moments(before):
            kept = " and ".join(optimizer.moments(before)) or "no moments"
            raise ValueError(
                f"{type(optimizer).__name__}: {', '.join(options)}: expected a value with which "
                f"a parameter has {kept} as before, got {', '.join(map(str, options.values()))}"
            )
        return after
