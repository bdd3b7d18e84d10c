"""Every variant of every cell with arguments drawn for it, for tests that run over all of them.

Works with any module that has the functions of `recurra.functional`.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BIASES", "VARIANTS", "Variant", "backward", "draw", "draw_incoming", "forward", "loss"]

Arrays = dict[str, np.ndarray]

BIASES: dict[str, tuple[str, ...]] = {
    "no_bias": (),
    "b_ih": ("b_ih",),
    "b_hh": ("b_hh",),
    "both": ("b_ih", "b_hh"),
}


class Variant(NamedTuple):
    """A cell with its options."""

    name: str
    cell: str
    gates: int
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    projected: bool = False

    def __str__(self) -> str:
        return self.name


VARIANTS = (
    Variant("rnn_tanh", "rnn", 1, {"activation": "tanh"}),
    Variant("rnn_relu", "rnn", 1, {"activation": "relu"}),
    Variant("lstm", "lstm", 4),
    Variant("lstm_projected", "lstm", 4, projected=True),
    Variant("gru", "gru", 3, {"reset_after": True}),
    Variant("gru_before", "gru", 3, {"reset_after": False}),
)


def draw(
    variant: Variant,
    rng: np.random.Generator,
    *,
    B: int = 3,
    T: int = 3,
    I: int = 2,
    H: int = 3,
    bias: str = "both",
    dtype: type = np.float64,
) -> Arrays:
    """Return the array arguments of the variant's forward function, by name."""
    rows, P = variant.gates * H, H - 1 if variant.projected else H
    shapes: dict[str, tuple[int, ...]] = {"x": (B, T, I), "w_ih": (rows, I), "w_hh": (rows, P)}
    shapes |= dict.fromkeys(BIASES[bias], (rows,)) | {"h0": (B, P)}
    shapes |= {"c0": (B, H)} if variant.cell == "lstm" else {}
    shapes |= {"w_hr": (P, H)} if variant.projected else {}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def forward(module: ModuleType, variant: Variant, arguments: Arrays, **options: Any) -> Any:
    return getattr(module, f"{variant.cell}_forward")(**arguments, **variant.options, **options)


def step(module: ModuleType, variant: Variant, arguments: Arrays) -> tuple[np.ndarray, ...]:
    """Take one step with x (B, I) and return the state (h,) or (h, c)."""
    state = getattr(module, f"{variant.cell}_step")(**arguments, **variant.options)
    return tuple(state) if variant.cell == "lstm" else (state,)


def draw_incoming(output: Any, rng: np.random.Generator) -> Arrays:
    """Return dy, dh_n[, dc_n] for a result of `forward`."""
    names = [name for name in ("y", "h_n", "c_n") if hasattr(output, name)]
    values = {name: getattr(output, name) for name in names}
    return {f"d{name}": rng.normal(size=v.shape).astype(v.dtype) for name, v in values.items()}


def loss(output: Any, incoming: Arrays) -> float:
    """Return the number of which `backward` returns the gradients."""
    return sum(float(np.sum(v * getattr(output, name[1:]))) for name, v in incoming.items())


def backward(
    module: ModuleType, variant: Variant, saved: object, incoming: Arrays, **options: Any
) -> dict[str, np.ndarray | None]:
    """Return the gradients by the names of the arguments."""
    grads = getattr(module, f"{variant.cell}_backward")(saved, **incoming, **options)
    return {name[1:]: value for name, value in grads._asdict().items()}
