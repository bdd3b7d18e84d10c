"""How recurra is called."""

from functools import partial
from typing import Any

import numpy as np

import recurra
from recurra import functional

from .contestants import OURS, Arrays, Contestant, Offers
from .rows import Problem, Row

CELLS: dict[str, functional.Cell] = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}
# A parameter, as its gradient is called in the results of `recurra.functional`.
GRADIENTS = {
    "weight_ih_l0": "dw_ih",
    "weight_hh_l0": "dw_hh",
    "bias_ih_l0": "db_ih",
    "bias_hh_l0": "db_hh",
}


def offers(row: Row) -> Offers:
    """Packed weights first where they stay the same; the plain function beside them."""
    function = f"{OURS} {row.cell.lower()}_{row.task}"
    if row.task == "step":
        return {OURS: _packed_step, function: _plain_step}
    if row.task == "forward":
        return {OURS: _packed_forward, function: _plain_forward}
    if row.layers * row.directions > 1:
        return {OURS: _layer_training}
    if row.ragged:
        return {OURS: _ragged_training, f"{OURS} padded": _training}
    return {OURS: _training}


def _packed_step(p: Problem) -> Contestant:
    weights, x = functional.pack(CELLS[p.row.cell], *p.cell_weights), p.x[:, 0]
    call = partial(weights.step, x, p.h, *_cell_state(p))
    return Contestant(call, lambda out: _named_states(*out))


def _plain_step(p: Problem) -> Contestant:
    function = getattr(functional, f"{p.row.cell.lower()}_step")
    call = partial(function, p.x[:, 0], *p.cell_weights, p.h, *_cell_state(p))
    return Contestant(call, lambda out: _named_states(*(out if p.row.cell == "LSTM" else (out,))))


def _packed_forward(p: Problem) -> Contestant:
    weights = functional.pack(CELLS[p.row.cell], *p.cell_weights)
    return Contestant(partial(weights.forward, p.x, save=False), lambda out: {"y": out[0]})


def _plain_forward(p: Problem) -> Contestant:
    function = getattr(functional, f"{p.row.cell.lower()}_forward")
    return Contestant(partial(function, p.x, *p.cell_weights, save=False), lambda o: {"y": o.y})


def _ragged_training(p: Problem) -> Contestant:
    return _training(p, lengths=p.row.lengths)


def _training(p: Problem, *, lengths: np.ndarray | None = None) -> Contestant:
    """Without lengths all steps of all rows, padding too: it shows what lengths save."""
    name = p.row.cell.lower()
    forward, backward = (
        getattr(functional, f"{name}_forward"),
        getattr(functional, f"{name}_backward"),
    )

    def call() -> tuple[np.ndarray, Any]:
        out = forward(p.x, *p.cell_weights, lengths=lengths)
        return out.y, backward(out.saved, p.dy)

    def results(out: tuple[np.ndarray, Any]) -> Arrays:
        y, gradients = out
        found = {f"d{name}": getattr(gradients, short) for name, short in GRADIENTS.items()}
        return {"y": p.within(y), "dx": gradients.dx, **found}

    return Contestant(call, results)


def _layer_training(p: Problem) -> Contestant:
    row = p.row
    layer = getattr(recurra, row.cell)(row.I, row.H, row.layers, bidirectional=row.directions > 1)
    layer.load_state_dict(p.weights)
    x = recurra.Tensor(p.x, requires_grad=True)

    def call() -> Any:
        layer.zero_grad()
        x.grad = None
        y, _ = layer(x, lengths=row.lengths if row.ragged else None)
        y.backward(p.dy)
        return y.data

    def results(y: np.ndarray) -> Arrays:
        found = {f"d{name}": parameter.grad for name, parameter in layer.named_parameters()}
        return {"y": y, "dx": x.grad, **found}

    return Contestant(call, results)


def _cell_state(p: Problem) -> tuple[np.ndarray, ...]:
    return (p.c,) if p.row.cell == "LSTM" else ()


def _named_states(h: np.ndarray, c: np.ndarray | None = None) -> Arrays:
    return {"h": h} if c is None else {"h": h, "c": c}
