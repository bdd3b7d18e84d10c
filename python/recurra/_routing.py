"""Handing `lengths` and states to those layers of a `Sequential` that take them.

A layer takes what its `forward` names: `lengths` (B,), and `state`, which then comes back as the
second of two results. Lengths stay what they are, unless the layer has a method `output_lengths`:
that turns them into those of its outputs, or into None where no time axis is left.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["NO_STATE", "Takes", "arguments", "output_lengths", "run"]

Takes = frozenset[str]
"""Which of `lengths` and `state` a layer takes."""

NO_STATE: Any = ...
"""Neither given nor asked for. A state that is None asks for the one that starts with zeros."""


def arguments(layer: Callable[..., Any]) -> Takes:
    """What a layer takes; a `Sequential` what one of its layers takes."""
    from recurra.module import Sequential

    if not callable(layer):
        raise TypeError(
            f"Sequential: layers: expected modules and functions, got {type(layer).__name__}"
        )
    try:
        names = inspect.signature(getattr(layer, "forward", layer)).parameters
    except ValueError:  # a function of C that does not say
        return frozenset()
    # A subclass may have a forward of its own, which takes less than the layers.
    below = layer.takes if isinstance(layer, Sequential) else frozenset(("lengths", "state"))
    return below.intersection(names)


def run(
    layers: Sequence[Callable[..., Any]],
    takes: Sequence[Takes],
    x: Any,
    lengths: Any,
    state: Any,
) -> Any:
    """What `Sequential.forward` says, where there are lengths or a state."""
    is_asked, states = state is not NO_STATE, _states(takes, state)
    after: list[Any] = []
    steps = None if lengths is None else _steps(takes, x)
    for i, (layer, names) in enumerate(zip(layers, takes, strict=True)):
        x = x[0] if i and isinstance(x, tuple) else x
        options = {}
        if lengths is not None and "lengths" in names:
            _check_steps(i, x, steps)
            options["lengths"] = lengths
        if is_asked and "state" in names:
            x, final = _pair(i, layer(x, state=states[len(after)], **options))
            after.append(final)
        else:
            x = layer(x, **options)
        if lengths is not None and hasattr(layer, "output_lengths"):
            lengths, steps = layer.output_lengths(lengths), layer.output_lengths(steps)
    return (x, tuple(after)) if is_asked else x


def output_lengths(layers: Sequence[Callable[..., Any]], lengths: Any) -> Any:
    """What the layers make of lengths, one after the other."""
    for layer in layers:
        if lengths is not None and hasattr(layer, "output_lengths"):
            lengths = layer.output_lengths(lengths)
    return lengths


def _states(takes: Sequence[Takes], state: Any) -> Sequence[Any]:
    """A state for each layer that takes one."""
    count = sum(["state" in names for names in takes])
    if state is NO_STATE:
        return ()
    if not count:
        raise TypeError("Sequential: state: expected a layer that takes one, got none")
    if state is None:
        return (None,) * count
    if not isinstance(state, tuple | list) or len(state) != count:
        form = f"{len(state)} of them" if isinstance(state, tuple | list) else type(state).__name__
        raise TypeError(
            f"Sequential: state: expected a tuple of {count}, one for each layer that takes a "
            f"state, got {form}"
        )
    return state


def _steps(takes: Sequence[Takes], x: Any) -> list[int]:
    """The T of x (B, T, ...), for which lengths were given."""
    if not any("lengths" in names for names in takes):
        raise TypeError("Sequential: lengths: expected a layer that takes them, got none")
    shape = np.shape(x)
    if len(shape) < 2:
        raise ValueError(f"Sequential: x: expected shape (B, T, ...) with lengths, got {shape}")
    return [shape[1]]


def _check_steps(i: int, x: Any, steps: Any) -> None:
    """Refuse lengths of other time steps than those that a layer gets."""
    if np.shape(x)[1:2] != tuple(steps):
        raise ValueError(
            f"Sequential: lengths: expected x of shape (B, T, ...) with T = {steps[0]} at layer "
            f"{i}, got {np.shape(x)}; a layer before that changes T needs `output_lengths`"
        )


def _pair(i: int, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"Sequential: state: expected (outputs, state) from layer {i}, which takes a state, "
            f"got {type(result).__name__}"
        )
    return result
