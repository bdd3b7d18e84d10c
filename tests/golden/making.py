"""What the scripts that make golden numbers with PyTorch share: the command line, and the files.

    python SCRIPT OUT_DIR            recompute the numbers for the inputs stored beside the script,
                                     print how far they are from the stored ones
    python SCRIPT OUT_DIR --seed N   the same cases with newly drawn inputs

Everything is float64 on one thread.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

HERE = Path(__file__).parent
Arrays: TypeAlias = dict[str, np.ndarray]
Draw: TypeAlias = Callable[[np.random.Generator], Arrays]
Answer: TypeAlias = Callable[[Arrays], Arrays]


def main(files: Mapping[str, tuple[Draw, Answer]]) -> None:
    """Write `OUT_DIR/NAME.npz` for each name: inputs, drawn or stored, and the answers to them."""
    parser = argparse.ArgumentParser(description=f"Make {', '.join(files)} with PyTorch.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, help="draw new inputs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (draw, answer) in files.items():
        arrays = _made(name, draw, answer, arguments.seed)
        np.savez_compressed(arguments.out / f"{name}.npz", **arrays)


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().numpy().copy()


def _made(name: str, draw: Draw, answer: Answer, seed: int | None) -> Arrays:
    if seed is not None:
        inputs = draw(np.random.default_rng(seed))
        answers = answer(inputs)
        print(f"{name}: {len(answers)} answers for seed {seed}")
        return inputs | answers
    stored = dict(np.load(HERE / f"{name}.npz"))
    answers = answer(stored)
    far = max(np.abs(value - stored[key]).max() for key, value in answers.items())
    print(f"{name}: {len(answers)} answers, at most {far:.1e} from the stored ones")
    return stored | answers
