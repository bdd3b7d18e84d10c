"""The optimizers of `torch_optim.npz`, and what the tests of several files do with them."""

from pathlib import Path
from typing import Any

import numpy as np

import recurra
from recurra import Tensor

GOLDEN = np.load(Path(__file__).parent / "golden" / "torch_optim.npz")

CASES: dict[str, Any] = {
    "sgd": lambda p: recurra.SGD(p, lr=0.05),
    "sgd_momentum": lambda p: recurra.SGD(p, lr=0.05, momentum=0.9),
    "sgd_nesterov": lambda p: recurra.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: recurra.RMSprop(p, lr=0.01),
    "rmsprop_centered": lambda p: recurra.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
    "rmsprop_only_centered": lambda p: recurra.RMSprop(p, alpha=0.9, eps=1e-3, centered=True),
    "rmsprop_momentum": lambda p: recurra.RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.1),
    "adagrad": lambda p: recurra.Adagrad(p, lr=0.05),
    "adagrad_decay": lambda p: recurra.Adagrad(
        p, lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2, eps=1e-3
    ),
    "adadelta": recurra.Adadelta,
    "adadelta_decay": lambda p: recurra.Adadelta(p, lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1),
    "adam": lambda p: recurra.Adam(p, lr=0.01),
    "adam_decay": lambda p: recurra.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    "adam_amsgrad": lambda p: recurra.Adam(p, lr=0.01, amsgrad=True),
    "adam_amsgrad_forgetful": lambda p: recurra.Adam(p, lr=0.01, betas=(0.9, 0.5), amsgrad=True),
    "adamw": lambda p: recurra.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw_amsgrad": lambda p: recurra.AdamW(p, lr=0.01, betas=(0.9, 0.5), amsgrad=True),
    "nadam": lambda p: recurra.NAdam(p, lr=0.01),
    "nadam_decay": lambda p: recurra.NAdam(p, lr=0.01, weight_decay=0.1, momentum_decay=0.1),
    "nadam_decoupled": lambda p: recurra.NAdam(
        p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "radam": lambda p: recurra.RAdam(p, lr=0.01),
    "radam_decay": lambda p: recurra.RAdam(
        p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, eps=1e-3
    ),
    "radam_decoupled": lambda p: recurra.RAdam(
        p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "adamax": lambda p: recurra.Adamax(p, lr=0.01),
    "adamax_decay": lambda p: recurra.Adamax(
        p, lr=0.01, betas=(0.8, 0.7), weight_decay=0.1, eps=1e-3
    ),
    "lion": lambda p: recurra.Lion(p, lr=0.01),
    "lion_decay": lambda p: recurra.Lion(p, lr=0.01, betas=(0.7, 0.9), weight_decay=0.1),
    "adamw_groups": lambda p: recurra.AdamW(
        [
            {"params": [p[0]], "lr": 0.03},
            {"params": [p[1]], "weight_decay": 0, "betas": (0.5, 0.6)},
        ],
        lr=0.01,
        weight_decay=0.1,
    ),
}


def leaf(*values: float, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def start(name: str, dtype: Any = np.float64) -> list[Tensor]:
    return [Tensor(GOLDEN[f"{name}/start{i}"].astype(dtype), requires_grad=True) for i in (0, 1)]


def feed(name: str, params: list[Tensor], step: int) -> None:
    for i, p in enumerate(params):
        p.grad = GOLDEN[f"{name}/grads{i}"][step].astype(p.dtype)
