"""How ONNX Runtime is called: constant weights, inputs and outputs bound to their places.

So nothing is copied but the input of a step, as a stream of samples must.
"""

import os
from functools import partial

import numpy as np
import onnxruntime

from . import onnx_model
from .contestants import Arrays, Contestant, Offers
from .rows import Problem, Row

THREADS = int(os.environ["OMP_NUM_THREADS"])


def version() -> str:
    """Its version."""
    return onnxruntime.__version__


def offers(row: Row) -> Offers:
    """It does not train. A step is often faster on one thread than on several."""
    if row.task == "training":
        return {}
    alone = {"ONNX Runtime, 1 thread": partial(_inference, threads=1)}
    return {"ONNX Runtime": _inference, **(alone if row.task == "step" and THREADS > 1 else {})}


def _inference(p: Problem, *, threads: int = THREADS) -> Contestant:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(onnx_model.model(p), options, providers=providers)
    x = p.x.swapaxes(0, 1).copy()
    inputs = {"x": x, **(onnx_model.states(p) if p.row.task == "step" else {})}
    bound = {name: _value(array) for name, array in inputs.items()}
    made = [_value(np.zeros(output.shape, np.float32)) for output in session.get_outputs()]
    binding = session.io_binding()
    for name, place in bound.items():
        binding.bind_ortvalue_input(name, place)
    for output, place in zip(session.get_outputs(), made, strict=True):
        binding.bind_ortvalue_output(output.name, place)

    def sequence() -> None:
        session.run_with_iobinding(binding)

    def step() -> None:
        bound["x"].update_inplace(x)
        session.run_with_iobinding(binding)

    def results(_: None) -> Arrays:
        return onnx_model.results(p, [place.numpy() for place in made])

    return Contestant(step if p.row.task == "step" else sequence, results)


def _value(array: np.ndarray) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
