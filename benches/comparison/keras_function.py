"""How Keras is called: layers on TensorFlow in a `tf.function`, batch first, plain and with XLA.

Which of the two is faster depends on the row, so both take part. Functions are called as the
concrete ones that they trace: that skips a check of the arguments' types in every call.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .contestants import Arrays, Contestant, Offers
from .rows import Problem, Row

THREADS = int(os.environ["OMP_NUM_THREADS"])
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
# Lets the directions of a layer run side by side.
tf.config.threading.set_inter_op_parallelism_threads(THREADS)

LAYERS = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}
# Places of Keras' gates among PyTorch's: GRU `z r h` of `r z n`. It is its own inverse.
ORDER = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}


def version() -> str:
    """Its version, and that of what it runs on."""
    return f"{keras.__version__}, TensorFlow {tf.__version__}"


def offers(row: Row) -> Offers:
    """Its cell is faster for one step than its layer."""
    build = {"step": _step, "forward": _forward, "training": _training}[row.task]
    return {"Keras": build, "Keras XLA": partial(build, xla=True)}


def _step(p: Problem, *, xla: bool = False) -> Contestant:
    cell = getattr(keras.layers, f"{LAYERS[p.row.cell]}Cell")(p.row.H)
    cell.build((p.row.B, p.row.I))
    _load(cell, p, "_l0")
    states = (p.h, p.c) if p.row.cell == "LSTM" else (p.h,)
    call = _compiled(lambda x, *states: cell(x, list(states))[1], (p.x[:, 0], *states), xla)
    return Contestant(
        call, lambda out: {name: s.numpy() for name, s in zip("hc", out, strict=False)}
    )


def _forward(p: Problem, *, xla: bool = False) -> Contestant:
    run, _ = _stack(p)
    return Contestant(_compiled(run, (p.x,), xla), lambda y: {"y": y.numpy()})


def _training(p: Problem, *, xla: bool = False) -> Contestant:
    run, cells = _stack(p)
    variables = [v for cell in cells.values() for v in _variables(cell)]

    def both(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x)
        return y, tape.gradient(y, [x, *variables], output_gradients=dy)

    def results(out: Any) -> Arrays:
        y, (dx, *gradients) = out
        found = {"y": y.numpy(), "dx": dx.numpy()}
        for i, tail in enumerate(cells):
            found |= _pytorch_gradients(p.row, tail, gradients[3 * i : 3 * i + 3])
        return found

    return Contestant(_compiled(both, (p.x, p.dy), xla), results)


def _compiled(
    function: Callable[..., Any], arrays: tuple[np.ndarray, ...], xla: bool
) -> Callable[[], Any]:
    """A call of the function, traced for these arrays."""
    inputs = [tf.constant(np.ascontiguousarray(array)) for array in arrays]
    traced = tf.function(function, jit_compile=xla).get_concrete_function(*inputs)
    return partial(traced, *inputs)


def _stack(p: Problem) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """x (B, T, I) to y (B, T, D*H), and the cells by the ends of their weights' names."""
    row = p.row
    mask = tf.sequence_mask(row.lengths, row.T) if row.ragged else None
    layers, cells = [], {}
    for k in range(row.layers):
        make = getattr(keras.layers, LAYERS[row.cell])
        layer = make(row.H, return_sequences=True, zero_output_for_mask=row.ragged)
        both = keras.layers.Bidirectional(layer) if row.directions > 1 else layer
        both.build((row.B, row.T, row.I if k == 0 else row.directions * row.H))
        halves = [both.forward_layer, both.backward_layer] if row.directions > 1 else [layer]
        for half, tail in zip(halves, (f"_l{k}", f"_l{k}_reverse"), strict=False):
            _load(half.cell, p, tail)
            cells[tail] = half.cell
        layers.append(both)

    def run(x: Any) -> Any:
        for layer in layers:
            x = layer(x, mask=mask)
        return x

    return run, cells


def _variables(cell: Any) -> tuple[Any, ...]:
    return tuple(v.value for v in (cell.kernel, cell.recurrent_kernel, cell.bias))


def _load(cell: Any, p: Problem, tail: str) -> None:
    """Matrices transposed, gates in Keras' order; one bias, or two rows of the GRU's."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (_gates(p.row, p.weights[name + tail]) for name in names)
    cell.kernel.assign(w_ih.T)
    cell.recurrent_kernel.assign(w_hh.T)
    cell.bias.assign(np.stack([b_ih, b_hh]) if p.row.cell == "GRU" else b_ih + b_hh)


def _pytorch_gradients(row: Row, tail: str, gradients: list[Any]) -> Arrays:
    """The way back of `_load`: where biases are added, each has the gradient of the sum."""
    dw_ih, dw_hh, db = (g.numpy() for g in gradients)
    db_ih, db_hh = db if row.cell == "GRU" else (db, db)
    found = {"weight_ih": dw_ih.T, "weight_hh": dw_hh.T, "bias_ih": db_ih, "bias_hh": db_hh}
    return {f"d{name}{tail}": _gates(row, d) for name, d in found.items()}


def _gates(row: Row, w: np.ndarray) -> np.ndarray:
    """A parameter (G*H, ...) with its gates in the other order."""
    order = list(ORDER[row.cell])
    return w.reshape(len(order), row.H, *w.shape[1:])[order].reshape(w.shape)
