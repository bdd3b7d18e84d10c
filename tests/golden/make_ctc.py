"""Make torch_ctc.npz with PyTorch.

    python make_ctc.py OUT_DIR            recompute the numbers for the inputs stored beside this
                                          file, print how far they are from the stored ones
    python make_ctc.py OUT_DIR --seed N   the same cases with newly drawn inputs

Needs torch and NumPy. Everything is float64 on one thread. Keys: CASE/input (T, B, V): logits,
time first as PyTorch has them, of which the loss takes log_softmax; CASE/target (B, S): labels,
padded with 0, the blank; CASE/input_lengths, CASE/target_lengths (B,); CASE/loss; CASE/dinput: the
gradient of the sum of the losses with respect to the logits.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
PLAIN = ([[1, 2, 2, 3], [5, 0, 0, 0], [4, 4, 1, 0]], [12, 7, 9], [4, 1, 3])
IMPOSSIBLE = ([[1, 2, 2, 3], [5, 5, 5, 0], [4, 4, 1, 0]], [12, 2, 9], [4, 3, 3])
LONG = ([[1 + i * i % 7 for i in range(60)]], [300], [60])
CASES = {
    "mean": (PLAIN, (12, 3, 6), "mean", False),
    "sum": (PLAIN, (12, 3, 6), "sum", False),
    "none": (PLAIN, (12, 3, 6), "none", False),
    "zero_infinity_mean": (IMPOSSIBLE, (12, 3, 6), "mean", True),
    "long_sum": (LONG, (300, 1, 8), "sum", False),
}


def compute(name: str, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a case, without its name."""
    (labels, *lengths), _, reduction, zero_infinity = CASES[name]
    z = torch.tensor(logits, requires_grad=True)
    target, (steps, counts) = torch.tensor(labels), map(torch.tensor, lengths)
    loss = torch.nn.functional.ctc_loss(
        z.log_softmax(-1),
        target,
        steps,
        counts,
        reduction=reduction,
        zero_infinity=zero_infinity,
    )
    loss.sum().backward()
    tensors = {"target": target, "input_lengths": steps, "target_lengths": counts}
    tensors |= {"input": z.detach(), "loss": loss.detach(), "dinput": z.grad}
    return {key: tensor.numpy() for key, tensor in tensors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "torch_ctc.npz"
    stored = dict(np.load(path)) if options.seed is None else {}
    rng = np.random.default_rng(options.seed)
    made = {}
    for name, (_, shape, *_) in CASES.items():
        logits = stored.get(f"{name}/input")
        logits = rng.standard_normal(shape) if logits is None else logits
        made |= {f"{name}/{key}": array for key, array in compute(name, logits).items()}
    if stored:
        worst = max(float(np.abs(made[key] - stored[key]).max()) for key in made)
        print(f"at most {worst:.2e} from what is stored")
    np.savez_compressed(options.out / "torch_ctc.npz", **made)


if __name__ == "__main__":
    main()
