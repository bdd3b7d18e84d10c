"""Make torch_losses.npz with PyTorch.

    python make_torch_losses.py OUT_DIR            recompute the numbers for the inputs stored here,
                                                   print how far they are from the stored ones
    python make_torch_losses.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread. A case is NAME_REDUCTION, where the
reduction is none, mean or sum. Its keys are CASE/ARGUMENT (input, target, and what else the loss
takes), CASE/loss, and CASE/dARGUMENT: the gradients of the loss, or where it is not reduced of
sum(loss * upstream).
"""

from collections.abc import Callable

import numpy as np
import torch
from making import Arrays, array, main
from torch.nn import functional

Tensors = dict[str, torch.Tensor]

QUANTILES = (0.1, 0.5, 0.75)


def cross_entropy(case: Tensors, reduction: str, **options: float) -> torch.Tensor:
    weight = case.get("weight")
    return functional.cross_entropy(
        case["input"], case["target"], weight=weight, reduction=reduction, **options
    )


def of_pair(function: Callable[..., torch.Tensor], **options: float) -> Callable[..., torch.Tensor]:
    return lambda case, reduction: function(
        case["input"], case["target"], reduction=reduction, **options
    )


def bce(case: Tensors, reduction: str) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(
        case["input"], case["target"], pos_weight=case.get("pos_weight"), reduction=reduction
    )


def gaussian_nll(case: Tensors, reduction: str, **options: float) -> torch.Tensor:
    return functional.gaussian_nll_loss(
        case["input"], case["target"], case["variance"], reduction=reduction, **options
    )


def negative_binomial_nll(case: Tensors, reduction: str) -> torch.Tensor:
    mean, alpha = case["input"], case["alpha"]
    law = torch.distributions.NegativeBinomial(1 / alpha, logits=torch.log(alpha * mean))
    return reduced(-law.log_prob(case["target"]), reduction)


def quantile(case: Tensors, reduction: str) -> torch.Tensor:
    q = torch.tensor(QUANTILES)
    e = case["target"][..., None] - case["input"]
    return reduced(q * e.clamp(min=0) + (1 - q) * (-e).clamp(min=0), reduction)


def weighted_mse(case: Tensors, reduction: str) -> torch.Tensor:
    weights = case["weights"][..., None].expand_as(case["input"])
    losses = weights * functional.mse_loss(case["input"], case["target"], reduction="none")
    return losses.sum() / weights.sum() if reduction == "mean" else reduced(losses, reduction)


def weighted_cross_entropy(case: Tensors, reduction: str) -> torch.Tensor:
    losses = case["weights"] * cross_entropy(case, "none", label_smoothing=0.2)
    total = (case["weights"] * case["weight"][case["target"]]).sum()
    return losses.sum() / total if reduction == "mean" else reduced(losses, reduction)


def reduced(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    return {"none": losses, "mean": losses.mean(), "sum": losses.sum()}[reduction]


LOSSES: dict[str, Callable[[Tensors, str], torch.Tensor]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_ignore": cross_entropy,
    "cross_entropy_weight": cross_entropy,
    "cross_entropy_smooth": lambda case, r: cross_entropy(case, r, label_smoothing=0.1),
    "cross_entropy_all": lambda case, r: cross_entropy(case, r, label_smoothing=0.2),
    "cross_entropy_weights": weighted_cross_entropy,
    "mse": of_pair(functional.mse_loss),
    "mse_weights": weighted_mse,
    "l1": of_pair(functional.l1_loss),
    "huber": of_pair(functional.huber_loss, delta=0.7),
    "bce_with_logits": bce,
    "bce_with_logits_pos_weight": bce,
    "gaussian_nll": lambda case, r: gaussian_nll(case, r, eps=0.1),
    "gaussian_nll_full": lambda case, r: gaussian_nll(case, r, full=True),
    "negative_binomial_nll": negative_binomial_nll,
    "quantile": quantile,
}


def draw(rng: np.random.Generator) -> Arrays:
    out: Arrays = {}
    for name in LOSSES:
        for reduction in ("none", "mean", "sum"):
            case = draw_case(name, rng)
            if reduction != "none":
                del case["upstream"]
            out |= {f"{name}_{reduction}/{argument}": value for argument, value in case.items()}
    return out


def draw_case(name: str, rng: np.random.Generator) -> Arrays:
    if name.startswith("cross_entropy"):
        return draw_classes(name, rng)
    case = {"input": rng.normal(size=(4, 5)), "target": rng.normal(size=(4, 5))}
    case["upstream"] = rng.normal(size=(4, 5))
    if name == "mse_weights":
        case["weights"] = rng.uniform(size=4)
    elif name.startswith("bce"):
        case["target"] = rng.uniform(size=(4, 5))
        if name.endswith("pos_weight"):
            case["pos_weight"] = rng.uniform(0.1, 3, size=5)
    elif name.startswith("gaussian"):
        case["variance"] = rng.uniform(0, 0.5, size=(4, 5))
    elif name.startswith("negative"):
        case["target"] = rng.poisson(5, size=(4, 5)).astype(float)
        case["input"], case["alpha"] = rng.gamma(2, 3, size=(2, 4, 5))
    elif name == "quantile":
        case["input"], case["upstream"] = rng.normal(size=(2, 4, 5, len(QUANTILES)))
    return case


def draw_classes(name: str, rng: np.random.Generator) -> Arrays:
    case = {"input": rng.normal(size=(6, 9)), "target": rng.integers(9, size=6)}
    case["upstream"] = rng.normal(size=6)
    if name.endswith(("ignore", "all")):
        case["target"][[1, 4]] = -100
    if name.endswith(("weight", "all", "weights")):
        case["weight"] = rng.uniform(0.1, 1.1, size=9)
    if name.endswith("weights"):
        case["weights"] = rng.uniform(size=6)
    return case


def answer(data: Arrays) -> Arrays:
    out: Arrays = {}
    for name in LOSSES:
        for reduction in ("none", "mean", "sum"):
            key = f"{name}_{reduction}/"
            case = {k.removeprefix(key): v for k, v in data.items() if k.startswith(key)}
            out |= {key + k: v for k, v in answer_case(name, case, reduction).items()}
    return out


def answer_case(name: str, case: Arrays, reduction: str) -> Arrays:
    given = {k: torch.tensor(v) for k, v in case.items()}
    leaves = [k for k in ("input", "variance", "alpha") if k in case]
    for k in leaves:
        given[k].requires_grad_()
    loss = LOSSES[name](given, reduction)
    (loss * given["upstream"] if reduction == "none" else loss).sum().backward()
    return {"loss": array(loss)} | {f"d{k}": array(given[k].grad) for k in leaves}


if __name__ == "__main__":
    main({"torch_losses": (draw, answer)})
