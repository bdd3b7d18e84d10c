"""Correctly rounded sigmoid and tanh in float64: activations.txt, by mpmath with 60 digits.

Each line: x, sigmoid(x), tanh(x) as the bits of a float64 in hexadecimal.
Run: python make_activations.py [OUT_DIR]   (needs mpmath and numpy)
"""

import pathlib
import sys

import mpmath
import numpy as np


def arguments() -> np.ndarray:
    """Where errors differ: near zero by magnitude, through the middle, and into saturation."""
    rng = np.random.Generator(np.random.Philox(key=7))
    tiny = 10.0 ** rng.uniform(-300, 0, 400)
    middle = rng.uniform(0, 25, 1200)
    far = rng.uniform(25, 720, 200)
    x = np.concatenate([tiny, middle, far, [0.0, 0.5, 1.0, np.log(2) / 2, np.log(2)]])
    return np.concatenate([x, -x])


def bits(value: mpmath.mpf) -> str:
    """The nearest float64; mpmath rounds to nearest, subnormal numbers too."""
    return f"{np.float64(float(value)).view(np.uint64):016x}"


def main() -> None:
    """Write the table."""
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    mpmath.mp.dps = 60
    lines = ["# x sigmoid(x) tanh(x), float64 bits: made by make_activations.py"]
    for x in arguments():
        exact = mpmath.mpf(float(x))
        sigmoid = 1 / (1 + mpmath.exp(-exact))
        lines.append(" ".join([bits(exact), bits(sigmoid), bits(mpmath.tanh(exact))]))
    (out / "activations.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
