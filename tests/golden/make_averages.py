"""Make torch_averages.npz with PyTorch: averages of a model with batch normalization.

    python make_averages.py OUT_DIR            recompute the numbers for the inputs stored beside
                                               this file, print how far they are from those stored
    python make_averages.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread.

x (6, 8, 3), targets (6, 8, 1): batches; start/NAME: the parameters of Linear(3, 4), BatchNorm1d(4),
    Linear(4, 1), which SGD (lr=0.1) trains on the mean squared error of each batch once.
CASE is ema (decay 0.9) or swa, with or without "_buffers" (use_buffers). CASE/NAME: each averaged
    parameter and running average after each of the 6 steps; CASE/update_bn/NAME: the running
    averages that update_bn then finds in those batches; CASE/y: what the averaged model puts out
    for x after that, evaluated.
"""

import numpy as np
import torch
from making import Arrays, array, main
from torch.optim import swa_utils

FLOATS = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
          "2.weight", "2.bias")  # fmt: skip


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    )


def draw(rng: np.random.Generator) -> Arrays:
    out = {"x": 1 + rng.normal(size=(6, 8, 3)), "targets": rng.normal(size=(6, 8, 1))}
    shapes = {name: tuple(p.shape) for name, p in network().named_parameters()}
    return out | {f"start/{name}": rng.normal(size=shape) for name, shape in shapes.items()}


def answer(data: Arrays) -> Arrays:
    out: Arrays = {}
    for kind, rule in (("ema", swa_utils.get_ema_multi_avg_fn(0.9)), ("swa", None)):
        for buffers in (False, True):
            name = kind + "_buffers" * buffers
            out |= {f"{name}/{key}": value for key, value in averaged(data, rule, buffers).items()}
    return out


def averaged(data: Arrays, rule: object, buffers: bool) -> Arrays:
    model = network()
    start = {n: torch.tensor(data[f"start/{n}"]) for n, _ in model.named_parameters()}
    model.load_state_dict(start, strict=False)
    average = swa_utils.AveragedModel(model, multi_avg_fn=rule, use_buffers=buffers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, seen = torch.tensor(data["x"]), {name: [] for name in FLOATS}
    for inputs, targets in zip(x, torch.tensor(data["targets"]), strict=True):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
        average.update_parameters(model)
        for name in FLOATS:
            seen[name].append(array(average.module.state_dict()[name]))
    out = {name: np.stack(values) for name, values in seen.items()}
    swa_utils.update_bn(x, average)
    found = average.module.state_dict()
    running = ("1.running_mean", "1.running_var")
    out |= {f"update_bn/{name}": array(found[name]) for name in running}
    return out | {"y": array(average.eval()(x.reshape(-1, 3)))}


if __name__ == "__main__":
    main({"torch_averages": (draw, answer)})
