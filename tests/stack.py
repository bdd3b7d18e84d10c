"""Stacks of layers and directions out of single-layer functions, and the golden cases for them.

`run_stack(module, case)` runs with any module that has the functions of `recurra.functional`, so
the same golden numbers prove `recurra.reference` and `recurra.functional`.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["LAYER_CASES", "LayerCase", "assert_close", "layer_case", "layer_cases", "run_stack"]

GOLDEN = Path(__file__).parent / "golden"

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN_tanh": ("rnn", {"activation": "tanh"}),
    "RNN_relu": ("rnn", {"activation": "relu"}),
    "LSTM": ("lstm", {}),
    "GRU": ("gru", {"reset_after": True}),
    "GRU_before": ("gru", {"reset_after": False}),
}


@dataclass(frozen=True)
class LayerCase:
    """A case of a golden file; `arrays` has the file's keys without the case's own."""

    kind: str
    num_layers: int
    directions: int
    ragged: bool
    arrays: dict[str, np.ndarray]

    @property
    def expected(self) -> dict[str, np.ndarray]:
        names = ("y", "h_n", "c_n", "dx", "dh0", "dc0")
        return {k: v for k, v in self.arrays.items() if k in names or k.startswith("grad/")}

    def suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]


def layer_cases(path: Path) -> list[tuple[Path, str]]:
    """Return what `layer_case` takes, for every case of a file."""
    with np.load(path) as file:
        return [(path, str(line)) for line in file["meta"]]


LAYER_CASES = layer_cases(GOLDEN / "torch_layers.npz") + layer_cases(GOLDEN / "gru_before.npz")


def layer_case(path: Path, line: str, dtype: type = np.float64) -> LayerCase:
    """Read the case that a line of meta describes, its numbers as `dtype`."""
    key, kind, *settings = line.split()
    s = dict(item.split("=") for item in settings)
    with np.load(path) as file:
        arrays = {
            name.removeprefix(f"{key}/"): file[name]
            for name in file.files
            if name.startswith(f"{key}/")
        }
    arrays = {k: v if k == "lengths" else v.astype(dtype) for k, v in arrays.items()}
    directions = 2 if s["bidirectional"] == "True" else 1
    return LayerCase(kind, int(s["num_layers"]), directions, s["lengths"] == "True", arrays)


def run_stack(
    module: ModuleType, case: LayerCase, *, memory: str = "keep", **options: Any
) -> dict[str, np.ndarray]:
    """Run a case forward and backward and return all that the case expects, by its keys.

    `options` (such as n_threads) go to every call.
    """
    cell, fixed = KINDS[case.kind]
    fixed = fixed | {"memory": memory}
    outputs = _run_forward(getattr(module, f"{cell}_forward"), case, fixed | options)
    grads = _run_backward(getattr(module, f"{cell}_backward"), case, outputs, options)
    y = np.concatenate([out.y for out in outputs[-1]], axis=2)
    result = {"y": y, "h_n": np.stack([out.h_n for layer in outputs for out in layer])}
    if cell == "lstm":
        result["c_n"] = np.stack([out.c_n for layer in outputs for out in layer])
    return result | grads


def _run_forward(forward: Any, case: LayerCase, options: dict[str, Any]) -> list[list[Any]]:
    """Return the result of every layer and direction."""
    a, x = case.arrays, case.arrays["x"]
    outputs: list[list[Any]] = []
    for layer in range(case.num_layers):
        outputs.append([])
        for d, suffix in enumerate(case.suffixes(layer)):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [a.get(f"param/{name}{suffix}") for name in names]
            state = [a[name][layer * case.directions + d] for name in ("h0", "c0") if name in a]
            if case.kind != "LSTM":
                state = state[:1]
            projection = a.get(f"param/weight_hr{suffix}")
            extra = {} if projection is None else {"w_hr": projection}
            if case.ragged:
                extra["lengths"] = a["lengths"]
            outputs[-1].append(forward(x, *weights, *state, reverse=d == 1, **extra, **options))
        x = np.concatenate([out.y for out in outputs[-1]], axis=2)
    return outputs


def _run_backward(
    backward: Any, case: LayerCase, outputs: list[list[Any]], options: dict[str, Any]
) -> dict[str, np.ndarray]:
    a, dy, result = case.arrays, case.arrays["gy"], {}
    states: dict[int, Any] = {}
    for layer in reversed(range(case.num_layers)):
        parts, dx = np.split(dy, case.directions, axis=2), []
        for d, suffix in enumerate(case.suffixes(layer)):
            at = layer * case.directions + d
            arriving = [a[name][at] for name in ("gh", "gc") if name in a]
            grads = backward(outputs[layer][d].saved, parts[d], *arriving, **options)
            states[at] = grads
            dx.append(grads.dx)
            for name in ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"):
                grad = getattr(grads, f"d{name}", None)
                if grad is not None:
                    key = name.replace("w_", "weight_").replace("b_", "bias_")
                    result[f"grad/{key}{suffix}"] = grad
        dy = sum(dx[1:], dx[0])
    for name in ("dh0", "dc0"):
        if hasattr(states[0], name):
            result[name] = np.stack([getattr(states[at], name) for at in sorted(states)])
    return result | {"dx": dy}


def assert_close(
    got: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float
) -> None:
    """Assert the same keys, shapes, and numbers to tolerance * max(1, max |expected|)."""
    assert got.keys() == expected.keys(), f"{sorted(got)} instead of {sorted(expected)}"
    for key, want in expected.items():
        assert got[key].shape == want.shape, f"{key}: {got[key].shape} instead of {want.shape}"
        far = float(np.abs(got[key] - want).max(initial=0))
        limit = tolerance * max(1.0, float(np.abs(want).max(initial=0)))
        assert far <= limit, f"{key}: {far:.3g} from the expected numbers, at most {limit:.3g}"
