"""How PyTorch is called: time first, as its kernels want it, under `inference_mode` or autograd."""

import os
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .contestants import Arrays, Contestant, Offers
from .rows import Problem, Row

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def version() -> str:
    """Its version."""
    return torch.__version__


def offers(row: Row) -> Offers:
    """Its cells are often faster for one step than its layers."""
    if row.task == "step":
        return {"PyTorch": _layer_step, f"PyTorch {row.cell}Cell": _cell_step}
    if row.task == "forward":
        return {"PyTorch": _forward, "PyTorch, grad mode": _forward_in_grad_mode}
    # In padding the reverse direction would start from something else than zero.
    padded = {"PyTorch padded": _padded_training} if row.ragged and row.directions == 1 else {}
    return {"PyTorch": _training, **padded}


def _layer_step(p: Problem) -> Contestant:
    layer, x = _make_layer(p).eval(), torch.from_numpy(p.x.swapaxes(0, 1).copy())
    h = _states(p, unsqueeze=True)

    def call() -> Any:
        with torch.inference_mode():
            return layer(x, h)[1]

    return Contestant(call, _named_states)


def _cell_step(p: Problem) -> Contestant:
    cell = getattr(torch.nn, f"{p.row.cell}Cell")(p.row.I, p.row.H).eval()
    _load(cell, {name.removesuffix("_l0"): w for name, w in p.weights.items()})
    x, h = torch.from_numpy(p.x[:, 0].copy()), _states(p, unsqueeze=False)

    def call() -> Any:
        with torch.inference_mode():
            return cell(x, h)

    return Contestant(call, _named_states)


def _forward(p: Problem) -> Contestant:
    layer, x = _make_layer(p).eval(), torch.from_numpy(p.x.swapaxes(0, 1).copy())

    def call() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    return Contestant(call, lambda y: {"y": _batch_first(y)})


def _forward_in_grad_mode(p: Problem) -> Contestant:
    """As it is called by who forgets to say that no gradients are wanted."""
    layer, x = _make_layer(p).eval(), torch.from_numpy(p.x.swapaxes(0, 1).copy())
    return Contestant(lambda: layer(x)[0], lambda y: {"y": _batch_first(y.detach())})


def _padded_training(p: Problem) -> Contestant:
    """All steps of all rows, padding too."""
    return _training(p, packed=False)


def _training(p: Problem, *, packed: bool = True) -> Contestant:
    layer = _make_layer(p)
    x = torch.from_numpy(p.x.swapaxes(0, 1).copy()).requires_grad_()
    dy, lengths = torch.from_numpy(p.dy.swapaxes(0, 1).copy()), torch.from_numpy(p.row.lengths)

    def run() -> Any:
        if not (p.row.ragged and packed):
            return layer(x)[0]
        rows = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(layer(rows)[0], total_length=p.row.T)[0]

    def call() -> Any:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        y = run()
        y.backward(dy)
        return y

    def results(y: Any) -> Arrays:
        found = {f"d{name}": w.grad.numpy() for name, w in layer.named_parameters()}
        return {"y": p.within(_batch_first(y.detach())), "dx": _batch_first(x.grad), **found}

    return Contestant(call, results)


def _make_layer(p: Problem) -> Any:
    row = p.row
    make = getattr(torch.nn, row.cell)
    return _load(make(row.I, row.H, row.layers, bidirectional=row.directions > 1), p.weights)


def _load(module: Any, weights: dict[str, np.ndarray]) -> Any:
    module.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return module


def _states(p: Problem, *, unsqueeze: bool) -> Any:
    h, c = (torch.from_numpy(s[None] if unsqueeze else s) for s in (p.h, p.c))
    return (h, c) if p.row.cell == "LSTM" else h


def _named_states(state: Any) -> Arrays:
    found = state if isinstance(state, tuple) else (state,)
    return {name: s.reshape(-1, s.shape[-1]).numpy() for name, s in zip("hc", found, strict=False)}


def _batch_first(tensor: Any) -> np.ndarray:
    return tensor.numpy().swapaxes(0, 1)
