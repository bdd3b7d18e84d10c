"""Make torch_optim.npz with PyTorch, and Lion from its paper's equations with NumPy.

    python make_optim.py OUT_DIR            recompute the numbers for the inputs stored beside this
                                            file, print how far they are from the stored ones
    python make_optim.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread.

CASE/start0, start1: two parameters; CASE/grads0, grads1: 12 gradients; CASE/after0, after1: the
    parameters after each step. Cases that end in "_groups" have a group for each parameter.
clip_norm/, clip_value/: grad0, grad1; clipped0, clipped1; and clip_norm/total.
ema/, swa/: values (8, 5), the parameter when its average is updated; average (8, 5) after that.
schedule/CASE: the learning rates of 19 steps, (19, groups); schedule/CASE/momentum: the
    momentum or first beta of them. schedule/CASE/metric: what the schedule was told, (steps,).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from making import Arrays, array, main

O, S, A = torch.optim, torch.optim.lr_scheduler, torch.optim.swa_utils

SHAPES = ((3, 4), (5,))
STEPS, RATES = 12, 19


class Lion(O.Optimizer):
    """Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, algorithm 2."""

    def __init__(self, params: Any, lr: float, betas: Any = (0.9, 0.99), weight_decay: float = 0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step(self) -> None:
        for group in self.param_groups:
            (b1, b2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
            for p in group["params"]:
                m = self.state[p].get("m", np.zeros(p.shape))
                g, theta = p.grad.numpy(), p.detach().numpy()
                c = b1 * m + (1 - b1) * g
                theta[...] = theta - lr * (np.sign(c) + decay * theta)
                self.state[p]["m"] = b2 * m + (1 - b2) * g


OPTIMIZERS: dict[str, Callable[[Any], O.Optimizer]] = {
    "sgd": lambda p: O.SGD(p, lr=0.05),
    "sgd_momentum": lambda p: O.SGD(p, lr=0.05, momentum=0.9),
    "sgd_nesterov": lambda p: O.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: O.RMSprop(p, lr=0.01),
    "rmsprop_centered": lambda p: O.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
    "rmsprop_only_centered": lambda p: O.RMSprop(p, lr=0.01, centered=True, alpha=0.9, eps=1e-3),
    "rmsprop_momentum": lambda p: O.RMSprop(p, lr=0.01, momentum=0.5, weight_decay=0.1),
    "adagrad": lambda p: O.Adagrad(p, lr=0.05),
    "adagrad_decay": lambda p: O.Adagrad(
        p, lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2, eps=1e-3
    ),
    "adadelta": lambda p: O.Adadelta(p, lr=1.0),
    "adadelta_decay": lambda p: O.Adadelta(p, lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1),
    "adam": lambda p: O.Adam(p, lr=0.01),
    "adam_decay": lambda p: O.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    "adam_amsgrad": lambda p: O.Adam(p, lr=0.01, amsgrad=True),
    "adam_amsgrad_forgetful": lambda p: O.Adam(p, lr=0.01, betas=(0.9, 0.5), amsgrad=True),
    "adamw": lambda p: O.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw_amsgrad": lambda p: O.AdamW(p, lr=0.01, betas=(0.9, 0.5), amsgrad=True),
    "nadam": lambda p: O.NAdam(p, lr=0.01),
    "nadam_decay": lambda p: O.NAdam(p, lr=0.01, weight_decay=0.1, momentum_decay=0.1),
    "nadam_decoupled": lambda p: O.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: O.RAdam(p, lr=0.01),
    "radam_decay": lambda p: O.RAdam(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, eps=1e-3),
    "radam_decoupled": lambda p: O.RAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "adamax": lambda p: O.Adamax(p, lr=0.01),
    "adamax_decay": lambda p: O.Adamax(p, lr=0.01, betas=(0.8, 0.7), weight_decay=0.1, eps=1e-3),
    "lion": lambda p: Lion(p, lr=0.01),
    "lion_decay": lambda p: Lion(p, lr=0.01, betas=(0.7, 0.9), weight_decay=0.1),
    "adamw_groups": lambda p: O.AdamW(
        [
            {"params": [p[0]], "lr": 0.03},
            {"params": [p[1]], "weight_decay": 0, "betas": (0.5, 0.6)},
        ],
        lr=0.01,
        weight_decay=0.1,
    ),
}

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: S.StepLR(o, 3, 0.5),
    "multi_step": lambda o: S.MultiStepLR(o, [2, 5, 5, 11], 0.3),
    "exponential": lambda o: S.ExponentialLR(o, 0.9),
    "cosine": lambda o: S.CosineAnnealingLR(o, 10, eta_min=0.001),
    "restarts": lambda o: S.CosineAnnealingWarmRestarts(o, 5, eta_min=0.002),
    "restarts_longer": lambda o: S.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
    "one_cycle": lambda o: S.OneCycleLR(o, max_lr=0.1, total_steps=20),
    "one_cycle_linear": lambda o: S.OneCycleLR(
        o, max_lr=[0.1, 0.4], epochs=4, steps_per_epoch=6, anneal_strategy="linear",
        pct_start=0.4, div_factor=10.0, final_div_factor=100.0,
        base_momentum=[0.5, 0.6], max_momentum=[0.8, 0.9],
    ),
    "one_cycle_three_phases": lambda o: S.OneCycleLR(
        o, max_lr=0.1, total_steps=20, three_phase=True, cycle_momentum=False
    ),
    "linear_warmup": lambda o: S.LinearLR(o, 0.1, 1.0, 5),
    "constant": lambda o: S.ConstantLR(o, 0.25, 4),
    "lambda": lambda o: S.LambdaLR(o, lambda n: 1 / (1 + n)),
    "sequential": lambda o: S.SequentialLR(
        o, [S.LinearLR(o, 0.1, 1.0, 5), S.CosineAnnealingLR(o, 12), S.ExponentialLR(o, 0.9)],
        [4, 12],
    ),
    "chained": lambda o: S.ChainedScheduler(
        [S.LinearLR(o, 0.1, 1.0, 5), S.ExponentialLR(o, 0.9), S.StepLR(o, 7, 0.5)], o
    ),
}  # fmt: skip

PLATEAUS: dict[str, dict[str, Any]] = {
    "plateau": {"factor": 0.5, "patience": 2},
    "plateau_max": {
        "mode": "max", "patience": 1, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 2,
        "factor": 0.3, "min_lr": [0.01, 0.02],
    },
    "plateau_eager": {"patience": 0, "threshold": 0.2, "eps": 0.005, "factor": 0.4},
}  # fmt: skip


def leaves(data: Arrays, case: str, name: str = "start") -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor(data[f"{case}/{name}{i}"])) for i in (0, 1)]


def draw(rng: np.random.Generator) -> Arrays:
    out: Arrays = {}
    for i, shape in enumerate(SHAPES):
        for name in OPTIMIZERS:
            out[f"{name}/start{i}"] = rng.normal(size=shape)
            out[f"{name}/grads{i}"] = rng.normal(size=(STEPS, *shape))
        out |= {f"clip_{kind}/grad{i}": 3 * rng.normal(size=shape) for kind in ("norm", "value")}
    out |= {f"{name}/values": rng.normal(size=(8, 5)) for name in ("ema", "swa")}
    # A metric that falls, stays, and is exactly as good as before now and then.
    steps = np.round(rng.normal(-0.05, 0.3, (len(PLATEAUS), RATES)), 1)
    return out | {
        f"schedule/{name}/metric": 5 + np.cumsum(s) for name, s in zip(PLATEAUS, steps, strict=True)
    }


def answer(data: Arrays) -> Arrays:
    out: Arrays = {}
    for name, make in OPTIMIZERS.items():
        out |= answer_optimizer(data, name, make)
    for name, make in SCHEDULES.items():
        out |= answer_schedule(name, make)
    for name, options in PLATEAUS.items():
        out |= answer_plateau(data, name, options)
    return out | answer_clip(data) | answer_averages(data)


def answer_optimizer(data: Arrays, name: str, make: Callable[[Any], O.Optimizer]) -> Arrays:
    parameters = leaves(data, name)
    optimizer, after = make(parameters), ([], [])
    for grads in zip(data[f"{name}/grads0"], data[f"{name}/grads1"], strict=True):
        for p, grad in zip(parameters, grads, strict=True):
            p.grad = torch.tensor(grad)
        optimizer.step()
        for p, seen in zip(parameters, after, strict=True):
            seen.append(array(p))
    return {f"{name}/after{i}": np.stack(seen) for i, seen in enumerate(after)}


def two_groups(adam: bool) -> O.Optimizer:
    zeros = [torch.nn.Parameter(torch.zeros(1)) for _ in (0, 1)]
    groups = [{"params": [zeros[0]]}, {"params": [zeros[1]], "lr": 0.3}]
    return O.Adam(groups, lr=0.1) if adam else O.SGD(groups, lr=0.1, momentum=0.9)


def answer_schedule(name: str, make: Callable[[Any], Any]) -> Arrays:
    optimizer = two_groups(adam=name == "one_cycle_linear")
    schedule, rates, momenta = make(optimizer), [], []
    for _ in range(RATES):
        groups = optimizer.param_groups
        rates.append([g["lr"] for g in groups])
        momenta.append([g["betas"][0] if "betas" in g else g["momentum"] for g in groups])
        optimizer.step()
        schedule.step()
    out = {f"schedule/{name}": np.array(rates)}
    if name.startswith("one_cycle"):
        out[f"schedule/{name}/momentum"] = np.array(momenta)
    return out


def answer_plateau(data: Arrays, name: str, options: dict[str, Any]) -> Arrays:
    optimizer = two_groups(adam=False)
    schedule, rates = S.ReduceLROnPlateau(optimizer, **options), []
    for metric in data[f"schedule/{name}/metric"]:
        rates.append([g["lr"] for g in optimizer.param_groups])
        schedule.step(metric)
    return {f"schedule/{name}": np.array(rates)}


def answer_clip(data: Arrays) -> Arrays:
    out: Arrays = {}
    for kind in ("norm", "value"):
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
        for i, p in enumerate(parameters):
            p.grad = torch.tensor(data[f"clip_{kind}/grad{i}"])
        if kind == "norm":
            out["clip_norm/total"] = array(torch.nn.utils.clip_grad_norm_(parameters, 1.0))
        else:
            torch.nn.utils.clip_grad_value_(parameters, 1.0)
        out |= {f"clip_{kind}/clipped{i}": array(p.grad) for i, p in enumerate(parameters)}
    return out


def answer_averages(data: Arrays) -> Arrays:
    out: Arrays = {}
    for name, average in (("ema", A.get_ema_multi_avg_fn(0.9)), ("swa", None)):
        model = torch.nn.Linear(5, 1, bias=False)
        averaged, seen = A.AveragedModel(model, multi_avg_fn=average), []
        for values in data[f"{name}/values"]:
            with torch.no_grad():
                model.weight.copy_(torch.tensor(values))
            averaged.update_parameters(model)
            seen.append(array(averaged.module.weight)[0])
        out[f"{name}/average"] = np.stack(seen)
    return out


if __name__ == "__main__":
    main({"torch_optim": (draw, answer)})
