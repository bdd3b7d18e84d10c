"""What optimizers take as parameters: tensors, named tensors, groups of them."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from recurra import checks
from recurra.autograd import Tensor

__all__ = ["Grouped", "Parameters", "grouped", "named"]

Parameters: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]]
Grouped: TypeAlias = Parameters | Iterable[Mapping[str, Any]]


def grouped(operation: str, params: Grouped) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
    """For each group its parameters by name, and its options."""
    items = _items(operation, params)
    mappings = [item for item in items if isinstance(item, Mapping)]
    if not mappings:
        return [(named(operation, items), {})]
    if len(mappings) < len(items):
        raise TypeError(f"{operation}: params: expected groups or tensors, got both")
    groups: list[tuple[dict[str, Tensor], dict[str, Any]]] = []
    first = 0
    for i, options in enumerate(mappings):
        if "params" not in options:
            got = ", ".join(map(str, options)) or "nothing"
            raise ValueError(f"{operation}: params[{i}]: expected the key 'params', got {got}")
        members = named(operation, options["params"], f"params[{i}]", first)
        first += len(members)
        groups.append((members, {k: v for k, v in options.items() if k != "params"}))
    return groups


def named(
    operation: str, params: Iterable[Any], argument: str = "params", first: int = 0
) -> dict[str, Tensor]:
    """Leaves by name; without names they are numbered from `first` on."""
    items = _items(operation, params, argument)
    pairs = [p if isinstance(p, tuple) else (str(first + i), p) for i, p in enumerate(items)]
    for name, parameter in pairs:
        if not (isinstance(parameter, Tensor) and parameter.is_leaf and parameter.requires_grad):
            raise TypeError(
                f"{operation}: {argument}: expected leaf tensors that require grad, "
                f"got {_kind(parameter)} as {name}"
            )
    if not pairs:
        raise ValueError(f"{operation}: {argument}: expected at least one tensor, got none")
    if len(dict(pairs)) < len(pairs) or len({id(p) for _, p in pairs}) < len(pairs):
        raise ValueError(
            f"{operation}: {argument}: expected each name and tensor once, got repeats"
        )
    return dict(pairs)


def _items(operation: str, params: object, argument: str = "params") -> list[Any]:
    if isinstance(params, Tensor):
        raise TypeError(f"{operation}: {argument}: expected an iterable of tensors, got one tensor")
    if isinstance(params, Mapping):
        got = type(params).__name__
        raise TypeError(f"{operation}: {argument}: expected a list of tensors, got a {got}")
    return list(checks.instance(operation, argument, params, Iterable, "an iterable of tensors"))


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return "a tensor that does not require grad" if value.is_leaf else "the result of an operation"
