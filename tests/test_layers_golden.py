"""Convolution, pooling, normalization and attention against PyTorch's numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Module, Tensor
from recurra.layers import scaled_dot_product_attention

Case = tuple[dict[str, Any], dict[str, np.ndarray]]


def stored() -> list[Any]:
    """Every case and its arrays, as golden/make_blocks.py describes them."""
    file, found, at = np.load(Path(__file__).parent / "golden" / "torch_blocks.npz"), [], 0
    for i, line in enumerate(file["meta"]):
        case, arrays = json.loads(str(line)), {}
        for name, shape in case.pop("arrays"):
            end = at + int(np.prod(shape))
            dtype = {"in/lengths": np.int64, "in/mask": np.bool_}.get(name, np.float64)
            arrays[name] = file["values"][at:end].reshape(shape).astype(dtype)
            at = end
        found.append(pytest.param((case, arrays), id=f"{i}-{case['kind']}"))
    assert at == len(file["values"])
    return found


CASES = stored()
POOLS: dict[str, Any] = {
    "max_pool1d": recurra.MaxPool1d,
    "avg_pool1d": recurra.AvgPool1d,
    "adaptive_avg_pool1d": recurra.AdaptiveAvgPool1d,
}
OF_BATCHES = [param for param in CASES if param.values[0][0]["kind"] == "batch_norm"]
OTHERS = [param for param in CASES if param not in OF_BATCHES]


def build(case: dict[str, Any], arrays: dict[str, np.ndarray], dtype: Any) -> Module | None:
    """The layer with the stored parameters; None for the function without any."""
    kind, options = case["kind"], dict(case["options"])
    if kind == "scaled":
        return None
    shape = {n.split("/")[1]: a.shape for n, a in arrays.items() if n.startswith(("in/", "param/"))}
    if kind == "conv1d":
        sizes = (shape["x"][2], shape["weight"][0], options.pop("kernel_size", 3))
        layer: Module = recurra.Conv1d(*sizes, **options, dtype=dtype)
    elif kind.endswith("pool1d"):
        layer = POOLS[kind](**options)
    elif kind.endswith("norm"):
        norm = {"layer_norm": recurra.LayerNorm, "batch_norm": recurra.BatchNorm}[kind]
        layer = norm(shape["x"][-1], **options, dtype=dtype)
    elif kind == "multihead":
        layer = recurra.MultiheadAttention(shape["query"][2], 2, dtype=dtype)
    else:
        sizes = (shape["query"][2], shape["key"][2])
        if kind == "additive":
            layer = recurra.AdditiveAttention(*sizes, len(arrays["param/weight"]), dtype)
        else:
            hidden = len(arrays["param/vector"]) if kind == "concat" else None
            layer = recurra.LuongAttention(kind, *sizes, hidden, dtype)
    parameters = {n[6:]: a for n, a in arrays.items() if n.startswith("param/")}
    report = layer.load_state_dict(parameters, strict=False, cast=True)
    assert report.unexpected == []
    assert all("running" in name or "num_batches" in name for name in report.missing)
    return layer


def close(found: np.ndarray | None, expected: np.ndarray, dtype: Any) -> None:
    assert found is not None
    assert found.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def gradients_of(inputs: dict[str, Tensor], layer: Module | None) -> dict[str, np.ndarray | None]:
    named = inputs | dict(layer.named_parameters() if layer is not None else ())
    return {name: tensor.grad for name, tensor in named.items()}


def run(case: dict[str, Any], layer: Module | None, inputs: dict[str, Tensor], rest: Any) -> Any:
    if layer is not None:
        return layer(*inputs.values(), **rest)
    causal = case["options"].get("causal", False)
    return scaled_dot_product_attention(*inputs.values(), **rest, is_causal=causal)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("given", OTHERS)
def test_golden(given: Case, dtype: Any) -> None:
    case, arrays = given
    layer = build(case, arrays, dtype)
    every = {n[3:]: a for n, a in arrays.items() if n.startswith("in/")}
    rest = {name: every.pop(name) for name in ("lengths", "mask") if name in every}
    inputs = {n: Tensor(a.astype(dtype), requires_grad=True) for n, a in every.items()}
    results = run(case, layer, inputs, rest)
    results = (
        dict(zip(("context", "weights"), results, strict=True))
        if isinstance(results, tuple)
        else {"y": results}
    )
    loss = recurra.ops.sum(
        recurra.ops.stack([(y * arrays[f"g/{n}"].astype(dtype)).sum() for n, y in results.items()])
    )
    loss.backward()
    for name, y in results.items():
        close(y.data, arrays[f"out/{name}"], dtype)
    found = gradients_of(inputs, layer)
    assert {f"grad/{name}" for name in found} == {n for n in arrays if n.startswith("grad/")}
    for name, gradient in found.items():
        close(gradient, arrays[f"grad/{name}"], dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("given", OF_BATCHES)
def test_golden_batch_norm(given: Case, dtype: Any) -> None:
    case, arrays = given
    layer, lengths = build(case, arrays, dtype), arrays.get("in/lengths")
    assert isinstance(layer, recurra.BatchNorm)
    for step, values in enumerate(arrays["in/x"]):
        x = Tensor(values.astype(dtype), requires_grad=True)
        y = layer(x, lengths)
        y.backward(arrays["g/y"][step].astype(dtype))
        close(y.data, arrays["out/y"][step], dtype)
        close(x.grad, arrays["grad/x"][step], dtype)
        for name in ("running_mean", "running_var"):
            close(getattr(layer, name).data, arrays[f"out/{name}_{step}"], dtype)
    for name, parameter in layer.named_parameters():
        close(parameter.grad, arrays[f"grad/{name}"], dtype)
    layer.zero_grad()
    x = Tensor(arrays["in/x"][0].astype(dtype), requires_grad=True)
    y = layer.eval()(x, lengths)
    y.backward(arrays["g/y_eval"].astype(dtype))
    close(y.data, arrays["out/y_eval"], dtype)
    close(x.grad, arrays["grad_eval/x"][0], dtype)
    for name, parameter in layer.named_parameters():
        close(parameter.grad, arrays[f"grad_eval/{name}"], dtype)
