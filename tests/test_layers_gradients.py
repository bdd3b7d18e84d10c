"""Gradients of every layer and option, in float64 against finite differences."""

from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Module, Tensor, ops
from recurra.layers import dropout, embedding, layer_norm, scaled_dot_product_attention
from tensor_gradients import array, check_gradients

B, T, C = 2, 5, 3
LENGTHS = [None, [5, 2], [0, 4]]
F64 = np.float64


def check_layer(layer: Module, *inputs: np.ndarray, **rest: Any) -> None:
    """Check the gradients of all inputs and parameters; several outputs are put in one row."""
    names = [name for name, _ in layer.named_parameters()]
    parameters = [array(*p.shape, seed=5) for p in layer.parameters()]

    def function(*tensors: Tensor) -> Tensor:
        for name, tensor in zip(names, tensors[len(inputs) :], strict=True):
            place, attribute = layer, name
            while "." in attribute:
                head, _, attribute = attribute.partition(".")
                place = getattr(place, head)
            setattr(place, attribute, tensor)
        results = layer(*tensors[: len(inputs)], **rest)
        results = results if isinstance(results, tuple) else (results,)
        return ops.concatenate([ops.reshape(y, (-1,)) for y in results])

    check_gradients(function, *inputs, *parameters)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "stride": 2},
        {"padding": 2, "stride": 3},
        {"padding": "same", "dilation": 2},
        {"padding": "causal", "kernel_size": 2},
        {"groups": 3, "out_channels": 6, "padding": 1},
    ],
)
def test_conv1d(options: dict[str, Any], lengths: Any) -> None:
    full = {"kernel_size": 3, "out_channels": 2} | options
    check_layer(recurra.Conv1d(C, **full, dtype=F64), array(B, T, C), lengths=lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("sizes", [(2,), (3, 1), (3, 2, 1)])
def test_pools(sizes: tuple[int, ...], lengths: Any) -> None:
    x = array(B, T, C)
    check_layer(recurra.MaxPool1d(*sizes), x, lengths=lengths)
    check_layer(recurra.AvgPool1d(*sizes), x, lengths=lengths)
    check_layer(recurra.AvgPool1d(*sizes, count_include_pad=False), x, lengths=lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mode", ["last", "mean", "max"])
def test_global_pools(mode: str, lengths: Any) -> None:
    check_layer(recurra.GlobalPool1d(mode), array(B, T, C), lengths=lengths)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_adaptive_pools(size: int, lengths: Any) -> None:
    check_layer(recurra.AdaptiveAvgPool1d(size), array(B, T, C), lengths=lengths)


@pytest.mark.parametrize("shape", [(C,), (4, C), (B, T, C)])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}]
)
def test_layer_norm(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    check_layer(recurra.LayerNorm(C, **options, dtype=F64), array(*shape))


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"eps": 0.1}, {"track_running_stats": False}]
)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training: bool, options: dict[str, Any], lengths: Any) -> None:
    layer = recurra.BatchNorm(C, **options, dtype=F64).train(training)
    if layer.track_running_stats:
        layer.running_mean.data, layer.running_var.data = array(C), abs(array(C, seed=1)) + 0.5
    check_layer(layer, array(B, T, C), lengths=lengths)


def test_batch_norm_of_rows_and_of_a_mask() -> None:
    check_layer(recurra.BatchNorm(C, dtype=F64), array(6, C), mask=np.arange(6) % 3 > 0)


@pytest.mark.parametrize("shared", [(), (1,), (2,), (-2,), (0, 1)])
def test_dropout(shared: tuple[int, ...]) -> None:
    def function(x: Tensor) -> Tensor:
        recurra.manual_seed(1)
        return dropout(x, 0.4, shared)

    check_gradients(function, array(B, T, C))


def test_embedding_with_dropout() -> None:
    def function(weight: Tensor) -> Tensor:
        recurra.manual_seed(1)
        return embedding([[0, 2, 2], [4, 0, 1]], weight, dropout=0.4)

    check_gradients(function, array(5, C))


Q, K, CQ, CK, CV = 3, 4, 3, 3, 2
MASK = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
SEEN: list[dict[str, Any]] = [
    {},
    {"lengths": [4, 2]},
    {"lengths": [0, 3]},
    {"mask": MASK},
    {"lengths": [1, 3], "mask": MASK},
]


def attentions() -> list[Module]:
    return [
        recurra.AdditiveAttention(CQ, CK, 4, F64),
        recurra.LuongAttention("dot", CQ, CK, dtype=F64),
        recurra.LuongAttention("general", CQ, CK, dtype=F64),
        recurra.LuongAttention("concat", CQ, CK, 4, F64),
    ]


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("which", range(4))
def test_attention(which: int, seen: dict[str, Any]) -> None:
    layer, keys = attentions()[which], array(B, K, CK, seed=1)
    check_layer(layer, array(B, Q, CQ), keys, array(B, K, CV, seed=2), **seen)
    check_layer(layer, array(B, Q, CQ), keys, **seen)
    one = {name: value for name, value in seen.items() if name == "lengths"}
    check_layer(layer, array(B, CQ), keys, **one, mask=MASK[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seen", SEEN)
def test_scaled_dot_product_attention(seen: dict[str, Any], causal: bool) -> None:
    def function(*inputs: Tensor) -> Tensor:
        results = scaled_dot_product_attention(*inputs, **seen, is_causal=causal, scale=0.7)
        return ops.concatenate([ops.reshape(y, (-1,)) for y in results])

    check_gradients(function, array(B, Q, CQ), array(B, K, CK, seed=1), array(B, K, CV, seed=2))


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("bias", [True, False])
def test_multihead_attention(bias: bool, seen: dict[str, Any]) -> None:
    layer = recurra.MultiheadAttention(4, 2, bias, F64)
    inputs = array(B, Q, 4), array(B, K, 4, seed=1), array(B, K, 4, seed=2)
    check_layer(layer, *inputs, **seen, is_causal=bias)


def test_layer_norm_function_alone() -> None:
    check_gradients(lambda x: layer_norm(x, eps=0.01), array(B, C))
