"""How OpenVINO is called: constant weights, latency hint, float32, inputs and outputs shared."""

import os
from typing import Any

import openvino

from . import onnx_model
from .contestants import Arrays, Contestant, Offers
from .rows import Problem, Row


def version() -> str:
    """Its version."""
    return openvino.__version__.partition("-")[0]


def offers(row: Row) -> Offers:
    """It does not train."""
    return {} if row.task == "training" else {"OpenVINO": _inference}


def _inference(p: Problem) -> Contestant:
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(onnx_model.model(p)), "CPU", options)
    request = compiled.create_infer_request()
    states = onnx_model.states(p) if p.row.task == "step" else {}
    inputs = {"x": p.x.swapaxes(0, 1).copy(), **states}

    def call() -> Any:
        return request.infer(inputs, share_inputs=True, share_outputs=True)

    def results(out: Any) -> Arrays:
        return onnx_model.results(p, [out[output] for output in compiled.outputs])

    return Contestant(call, results)
