"""How JAX is called: a jitted scan, time first, and `value_and_grad` of it.

Unrolling the scan did not pay where it was tried: training took two to ten times as long.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .contestants import Arrays, Contestant, Offers
from .rows import Problem, Row

sigmoid = jax.nn.sigmoid


def version() -> str:
    """Its version."""
    return jax.__version__


def offers(row: Row) -> Offers:
    """A scan for every task; one of a single step needs no loop."""
    if row.task == "step":
        return {"JAX": _step}
    return {"JAX": _forward if row.task == "forward" else _training}


def _step(p: Problem) -> Contestant:
    cell, weights = CELLS[p.row.cell], _parameters(p)
    x, h, c = (jnp.asarray(a) for a in (p.x[:, 0], p.h, p.c))
    state = (h, c) if p.row.cell == "LSTM" else (h,)

    @jax.jit
    def run(weights: Any, x: Any, state: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = _cell_weights(weights, "_l0")
        return cell(x @ w_ih + b_ih, state, w_hh, b_hh)

    return Contestant(
        lambda: jax.block_until_ready(run(weights, x, state)),
        lambda out: {name: np.asarray(s) for name, s in zip("hc", out, strict=False)},
    )


def _forward(p: Problem) -> Contestant:
    run, weights, x = jax.jit(_stack(p.row)), _parameters(p), jnp.asarray(p.x.swapaxes(0, 1))
    return Contestant(
        lambda: jax.block_until_ready(run(weights, x)), lambda y: {"y": _batch_first(y)}
    )


def _training(p: Problem) -> Contestant:
    run, weights = _stack(p.row), _parameters(p)
    x, dy = (jnp.asarray(a.swapaxes(0, 1)) for a in (p.x, p.dy))

    def loss(weights: Any, x: Any, dy: Any) -> Any:
        y = run(weights, x)
        return (y * dy).sum(), y

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def results(out: Any) -> Arrays:
        (_, y), (dw, dx) = out
        found = {f"d{name}": np.asarray(d.T) for name, d in dw.items()}
        return {"y": _batch_first(y), "dx": _batch_first(dx), **found}

    return Contestant(lambda: jax.block_until_ready(both(weights, x, dy)), results)


def _stack(row: Row) -> Callable[[Any, Any], Any]:
    """All layers and directions: weights and x (T, B, I) to y (T, B, D*H)."""

    def run(weights: Any, x: Any) -> Any:
        valid = jnp.arange(row.T)[:, None, None] < jnp.asarray(row.lengths)[:, None]
        for layer in range(row.layers):
            halves = [_direction(row, x, valid, _cell_weights(weights, f"_l{layer}"))]
            if row.directions > 1:
                reverse = _cell_weights(weights, f"_l{layer}_reverse")
                halves.append(_direction(row, x[::-1], valid[::-1], reverse)[::-1])
            x = jnp.concatenate(halves, axis=-1)
        return x

    return run


def _direction(row: Row, x: Any, valid: Any, weights: tuple[Any, ...]) -> Any:
    """One layer from its first step to its last; where none is valid the state stands still."""
    w_ih, w_hh, b_ih, b_hh = weights
    zeros = jnp.zeros((row.B, row.H), x.dtype)

    def one(state: Any, inputs: Any) -> Any:
        projected, ok = inputs
        new = CELLS[row.cell](projected, state, w_hh, b_hh)
        if not row.ragged:
            return new, new[0]
        kept = tuple(jnp.where(ok, a, b) for a, b in zip(new, state, strict=True))
        return kept, jnp.where(ok, new[0], 0)

    state = (zeros, zeros) if row.cell == "LSTM" else (zeros,)
    return jax.lax.scan(one, state, (x @ w_ih + b_ih, valid))[1]


def _lstm(x: Any, state: Any, w_hh: Any, b_hh: Any) -> Any:
    h, c = state
    i, f, g, o = jnp.split(x + b_hh + h @ w_hh, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def _gru(x: Any, state: Any, w_hh: Any, b_hh: Any) -> Any:
    (h,) = state
    x_r, x_z, x_n = jnp.split(x, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
    n, z = jnp.tanh(x_n + sigmoid(x_r + h_r) * h_n), sigmoid(x_z + h_z)
    return ((1 - z) * n + z * h,)


def _rnn(x: Any, state: Any, w_hh: Any, b_hh: Any) -> Any:
    return (jnp.tanh(x + b_hh + state[0] @ w_hh),)


CELLS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _parameters(p: Problem) -> dict[str, Any]:
    """Matrices transposed once, as its products read them."""
    return {name: jnp.asarray(np.ascontiguousarray(w.T)) for name, w in p.weights.items()}


def _cell_weights(weights: dict[str, Any], tail: str) -> tuple[Any, ...]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(weights[name + tail] for name in names)


def _batch_first(array: Any) -> np.ndarray:
    return np.asarray(array).swapaxes(0, 1)
