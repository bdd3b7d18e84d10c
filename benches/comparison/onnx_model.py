"""One layer as an ONNX model with constant weights, for the runtimes that read it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .rows import Problem

# Places of ONNX' gates among PyTorch's: LSTM `i o f g` of `i f g o`, GRU `z r n` of `r z n`.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def states(problem: Problem) -> dict[str, np.ndarray]:
    """The states of a step by the names of the model's inputs, each (1, B, H)."""
    found = {"h": problem.h[None]}
    return {**found, "c": problem.c[None]} if problem.row.cell == "LSTM" else found


def model(problem: Problem) -> bytes:
    """Inputs x (T, B, I) and, of a step, h and c; outputs y or, of a step, new_h and new_c."""
    row, is_step = problem.row, problem.row.task == "step"
    names = list(states(problem)) if is_step else []
    outputs = ["", *(f"new_{name}" for name in names)] if is_step else ["y"]
    node = helper.make_node(
        row.cell,
        ["x", "w", "r", "b", *([""] if is_step else []), *names],
        outputs,
        hidden_size=row.H,
        **({"linear_before_reset": 1} if row.cell == "GRU" else {}),
    )
    state, y = [1, row.B, row.H], [row.T, 1, row.B, row.H]
    graph = helper.make_graph(
        [node],
        row.cell,
        [_floats("x", [row.T, row.B, row.I]), *(_floats(name, state) for name in names)],
        [_floats(name, state if is_step else y) for name in outputs if name],
        _constants(problem),
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


def _floats(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _constants(problem: Problem) -> list[onnx.TensorProto]:
    order = list(ORDER[problem.row.cell])

    def gates(w: np.ndarray) -> np.ndarray:
        return w.reshape(len(order), problem.row.H, *w.shape[1:])[order].reshape(w.shape)

    w_ih, w_hh, b_ih, b_hh = (gates(w) for w in problem.cell_weights)
    arrays = {"w": w_ih, "r": w_hh, "b": np.concatenate([b_ih, b_hh])}
    return [numpy_helper.from_array(a[None].copy(), name) for name, a in arrays.items()]


def results(problem: Problem, outputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The model's outputs as the table compares them."""
    if problem.row.task == "step":
        return dict(zip("hc", (state[0] for state in outputs), strict=False))
    return {"y": outputs[0][:, 0].swapaxes(0, 1)}
