"""Eigenvalues of recurrent matrices: whether a state fades or grows from step to step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.inspect.calls import recurrent_cells
from recurra.module import Module
from recurra.results import Array

__all__ = ["eigenvalues", "spectral_radius"]

# The gates of each cell in the order of their rows, by how many there are.
NAMES = {1: ("h",), 3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}


def eigenvalues(model: Module) -> dict[str, dict[str, NDArray[np.complex128]]]:
    """The eigenvalues (P,) of every recurrent matrix, by layer and gate, computed in float64.

    Gates are `h` of an RNN, `i f g o` of an LSTM, `r z n` of a GRU. For an LSTM with a projection
    they are those of `w_hr @ w_hh`, through which the projected state goes. Raises ValueError for
    weights that are not finite.

    >>> import recurra
    >>> found = recurra.inspect.eigenvalues(recurra.GRU(3, 8))
    >>> list(found), list(found["l0"]), found["l0"]["n"].shape
    (['l0'], ['r', 'z', 'n'], (8,))
    """
    return {
        name: _by_gate(name, weights) for name, weights in recurrent_cells("eigenvalues", model)
    }


def spectral_radius(model: Module) -> dict[str, dict[str, float]]:
    """The largest absolute eigenvalue of every recurrent matrix, by layer and gate.

    The gradients of a linear recurrence h' = W h grow through time where it is above 1 and vanish
    where it is below; the slope of tanh and the gates come on top, so that it is a hint for what
    `gradient_norms` measures (Pascanu, Mikolov and Bengio 2013). Raises what `eigenvalues` raises.

    >>> import numpy as np
    >>> import recurra
    >>> layer = recurra.RNN(1, 2)
    >>> layer.weight_hh_l0.data = np.array([[0.5, 0], [0, -2]], np.float32)
    >>> recurra.inspect.spectral_radius(layer)
    {'l0': {'h': 2.0}}
    """
    return {
        name: {gate: float(np.abs(values).max()) for gate, values in gates.items()}
        for name, gates in eigenvalues(model).items()
    }


def _by_gate(name: str, weights: Mapping[str, Array]) -> dict[str, NDArray[np.complex128]]:
    w_hh = _finite(name, "w_hh", weights["w_hh"])
    gates = NAMES[_gates(weights)]
    blocks = np.split(w_hh, len(gates))
    if "w_hr" in weights:
        projection = _finite(name, "w_hr", weights["w_hr"])
        blocks = [projection @ block for block in blocks]
    return {
        gate: np.linalg.eigvals(block).astype(np.complex128)
        for gate, block in zip(gates, blocks, strict=True)
    }


def _gates(weights: Mapping[str, Array]) -> int:
    """G, from the rows of `w_hh` (G*H, P) and what tells H."""
    rows, width = weights["w_hh"].shape
    hidden = weights["w_hr"].shape[1] if "w_hr" in weights else width
    return int(rows // hidden)


def _finite(name: str, argument: str, array: Array) -> NDArray[Any]:
    if not np.isfinite(array).all():
        raise ValueError(f"eigenvalues: {name}: expected finite {argument}, got NaN or infinity")
    return array.astype(np.float64)
