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
    return torch.__version__


def offers(row: Row) -> Offers:
    """Its cells are often faster for one step than its layers."""
    if row.task == "step":
        return {"PyTorch": layer_step, f"PyTorch {row.cell}Cell": cell_step}
    return {"PyTorch": forward if row.task == "forward" else training}


def layer_step(p: Problem) -> Contestant:
    layer, x = make_layer(p).eval(), torch.from_numpy(p.x.swapaxes(0, 1).copy())
    h = states(p, unsqueeze=True)

    def call() -> Any:
        with torch.inference_mode():
            return layer(x, h)[1]

    return Contestant(call, named_states)


def cell_step(p: Problem) -> Contestant:
    cell = getattr(torch.nn, f"{p.row.cell}Cell")(p.row.I, p.row.H).eval()
    load(cell, {name.removesuffix("_l0"): w for name, w in p.weights.items()})
    x, h = torch.from_numpy(p.x[:, 0].copy()), states(p, unsqueeze=False)

    def call() -> Any:
        with torch.inference_mode():
            return cell(x, h)

    return Contestant(call, named_states)


def forward(p: Problem) -> Contestant:
    layer, x = make_layer(p).eval(), torch.from_numpy(p.x.swapaxes(0, 1).copy())

    def call() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    return Contestant(call, lambda y: {"y": batch_first(y)})


def training(p: Problem) -> Contestant:
    layer = make_layer(p)
    x = torch.from_numpy(p.x.swapaxes(0, 1).copy()).requires_grad_()
    dy, lengths = torch.from_numpy(p.dy.swapaxes(0, 1).copy()), torch.from_numpy(p.row.lengths)

    def run() -> Any:
        if not p.row.ragged:
            return layer(x)[0]
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], total_length=p.row.T)[0]

    def call() -> Any:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        y = run()
        y.backward(dy)
        return y

    def results(y: Any) -> Arrays:
        found = {f"d{name}": w.grad.numpy() for name, w in layer.named_parameters()}
        return {"y": batch_first(y.detach()), "dx": batch_first(x.grad), **found}

    return Contestant(call, results)


def make_layer(p: Problem) -> Any:
    row = p.row
    make = getattr(torch.nn, row.cell)
    return load(make(row.I, row.H, row.layers, bidirectional=row.directions > 1), p.weights)


def load(module: Any, weights: dict[str, np.ndarray]) -> Any:
    module.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    return module


def states(p: Problem, *, unsqueeze: bool) -> Any:
    h, c = (torch.from_numpy(s[None] if unsqueeze else s) for s in (p.h, p.c))
    return (h, c) if p.row.cell == "LSTM" else h


def named_states(state: Any) -> Arrays:
    found = state if isinstance(state, tuple) else (state,)
    return {name: s.reshape(-1, s.shape[-1]).numpy() for name, s in zip("hc", found, strict=False)}


def batch_first(tensor: Any) -> np.ndarray:
    return tensor.numpy().swapaxes(0, 1)
