"""What layers refuse, word for word, and what they make of nothing."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Tensor
from recurra.layers import dropout, embedding, layer_norm, scaled_dot_product_attention


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def no(text: str, call: Callable[[], Any], kind: type[Exception] = ValueError) -> Any:
    return pytest.param(call, kind, text, id=text[:60])


X, ROWS = ones(2, 5, 3), [5, 2]
CONV, POOL, NORM = recurra.Conv1d(3, 2, 3), recurra.MaxPool1d(3), recurra.BatchNorm(3)
GLOBAL, ADDITIVE = recurra.GlobalPool1d("last"), recurra.AdditiveAttention(4, 3, 2)
HEADS = recurra.MultiheadAttention(4, 2)

REFUSED = [
    no(
        "Embedding: padding_idx: expected an int < V = 3, got 3",
        lambda: recurra.Embedding(3, 2, padding_idx=3),
    ),
    no(
        "Embedding: padding_idx: expected an int >= -3, got -4",
        lambda: recurra.Embedding(3, 2, padding_idx=-4),
    ),
    no(
        "embedding: padding_idx: expected an int, got float",
        lambda: embedding([0], Tensor(ones(3, 2)), padding_idx=1.0),  # type: ignore[arg-type]
        TypeError,
    ),
    no(
        "Embedding: dropout: expected 0 <= dropout < 1, got 1",
        lambda: recurra.Embedding(3, 2, dropout=1),
    ),
    no(
        "VariationalDropout: p: expected 0 <= p < 1, got 1.5",
        lambda: recurra.VariationalDropout(1.5),
    ),
    no(
        "VariationalDropout: x: expected shape (B, T, C), got (2, 3)",
        lambda: recurra.VariationalDropout(0.5).eval()(ones(2, 3)),
    ),
    no(
        "dropout_mask: rows: expected shape (B,) = (2,), got (3,)",
        lambda: dropout(Tensor(X), 0.5, rows=[0, 1, 2]),
    ),
    no(
        "dropout_mask: rows: expected integers, got float64",
        lambda: dropout(Tensor(X), 0.5, rows=[0.0, 1.0]),
        TypeError,
    ),
    no(
        f"dropout_mask: rows: expected 0 <= id < {2**63}, got -1 at (1,)",
        lambda: dropout(Tensor(X), 0.5, rows=[0, -1]),
        IndexError,
    ),
    no("WordDropout: p: expected 0 <= p < 1, got 1", lambda: recurra.WordDropout(1, 0)),
    no("WordDropout: unknown: expected an int >= 0, got -1", lambda: recurra.WordDropout(0.5, -1)),
    no(
        "WordDropout: ids: expected integers, got float32",
        lambda: recurra.WordDropout(0.5, 1)(X),
        TypeError,
    ),
    no("LayerNorm: features: expected an int >= 1, got 0", lambda: recurra.LayerNorm(0)),
    no("LayerNorm: eps: expected 0 <= eps < inf, got -1", lambda: recurra.LayerNorm(3, eps=-1)),
    no(
        "LayerNorm: x: expected shape (..., F) = (..., 4), got (2, 5, 3)",
        lambda: recurra.LayerNorm(4)(X),
    ),
    no(
        "LayerNorm: x: expected float32, got float64",
        lambda: recurra.LayerNorm(3)(np.ones(3)),
        TypeError,
    ),
    no("layer_norm: x: expected shape (..., F) with F >= 1, got ()", lambda: layer_norm(1.0)),
    no(
        "layer_norm: weight: expected shape (F,) = (3,), got (2,)",
        lambda: layer_norm(X, Tensor(ones(2))),
    ),
    no(
        "layer_norm: bias: expected None without weight, got an array",
        lambda: layer_norm(X, None, Tensor(ones(3))),
    ),
    no(
        "BatchNorm: momentum: expected 0 <= momentum <= 1, got nan",
        lambda: recurra.BatchNorm(3, momentum=float("nan")),
    ),
    no("BatchNorm: x: expected shape (..., F) = (..., 3), got (2, 2)", lambda: NORM(ones(2, 2))),
    no(
        "BatchNorm: x: expected shape (B, T, F) with lengths, got (2, 3)",
        lambda: NORM(ones(2, 3), lengths=[1, 1]),
    ),
    no(
        "BatchNorm: lengths: expected 0 <= length <= T = 5, got 6 at (1,)",
        lambda: NORM(X, lengths=[5, 6]),
    ),
    no(
        "BatchNorm: mask: expected booleans, got int64",
        lambda: NORM(X, mask=np.ones((2, 5), np.int64)),
        TypeError,
    ),
    no(
        "BatchNorm: mask: expected a shape that broadcasts to (...) = (2, 5), got (2, 4)",
        lambda: NORM(X, mask=np.ones((2, 4), bool)),
    ),
    no("Conv1d: kernel_size: expected an int >= 1, got 0", lambda: recurra.Conv1d(3, 2, 0)),
    no("Conv1d: stride: expected an int >= 1, got 0", lambda: recurra.Conv1d(3, 2, 1, 0)),
    no(
        "Conv1d: dilation: expected an int, got float",
        lambda: recurra.Conv1d(3, 2, 1, dilation=1.0),  # type: ignore[arg-type]
        TypeError,
    ),
    no("Conv1d: padding: expected an int >= 0, got -1", lambda: recurra.Conv1d(3, 2, 1, 1, -1)),
    no(
        "Conv1d: padding: expected 'valid' or 'same' or 'causal', got 'full'",
        lambda: recurra.Conv1d(3, 2, 1, padding="full"),
    ),
    no(
        "Conv1d: stride: expected 1 with padding='same', got 2",
        lambda: recurra.Conv1d(3, 2, 1, 2, "same"),
    ),
    no(
        "Conv1d: out_channels: expected a multiple of groups = 3, got 2",
        lambda: recurra.Conv1d(3, 2, 1, groups=3),
    ),
    no(
        "Conv1d: in_channels: expected a multiple of groups = 2, got 3",
        lambda: recurra.Conv1d(3, 2, 1, groups=2),
    ),
    no("Conv1d: x: expected shape (B, T, C) = (B, T, 3), got (2, 3)", lambda: CONV(ones(2, 3))),
    no(
        "Conv1d: x: expected shape (B, T, C) = (B, T, 3), got (2, 5, 4)",
        lambda: CONV(ones(2, 5, 4)),
    ),
    no(
        "Conv1d: x: expected at least 3 time steps for a window of 3, got T = 2",
        lambda: CONV(ones(2, 2, 3)),
    ),
    no("Conv1d: x: expected float32, got float64", lambda: CONV(np.ones((2, 5, 3))), TypeError),
    no(
        "Conv1d: lengths: expected integers, got float64",
        lambda: CONV(X, lengths=[1.0, 2.0]),
        TypeError,
    ),
    no(
        "Conv1d: lengths: expected shape (B,) = (2,), got (3,)",
        lambda: CONV(X, lengths=[1, 2, 3]),
    ),
    no(
        "Conv1d: lengths: expected 0 <= length <= T = 5, got -1 at (0,)",
        lambda: CONV(X, lengths=[-1, 2]),
    ),
    no("Conv1d: lengths: expected shape (B,), got ()", lambda: CONV.output_lengths(3)),
    no(
        "MaxPool1d: padding: expected at most half of kernel_size = 3, got 2",
        lambda: recurra.MaxPool1d(3, padding=2),
    ),
    no("AvgPool1d: stride: expected an int >= 1, got 0", lambda: recurra.AvgPool1d(3, 0)),
    no(
        "MaxPool1d: x: expected at least 3 time steps for a window of 3, got T = 2",
        lambda: POOL(ones(2, 2, 3)),
    ),
    no("MaxPool1d: x: expected shape (B, T, C), got (2, 5)", lambda: POOL(ones(2, 5))),
    no(
        "GlobalPool1d: mode: expected 'last' or 'mean' or 'max', got 'sum'",
        lambda: recurra.GlobalPool1d("sum"),
    ),
    no("GlobalPool1d: x: expected shape (B, T, C), got (2, 5)", lambda: GLOBAL(ones(2, 5))),
    no(
        "GlobalPool1d: lengths: expected 0 <= length <= T = 5, got 9 at (0,)",
        lambda: GLOBAL(X, lengths=[9, 1]),
    ),
    no(
        "AdaptiveAvgPool1d: output_size: expected an int >= 1, got 0",
        lambda: recurra.AdaptiveAvgPool1d(0),
    ),
    no(
        "AdditiveAttention: hidden_size: expected an int >= 1, got 0",
        lambda: recurra.AdditiveAttention(1, 1, 0),
    ),
    no(
        "AdditiveAttention: query: expected shape (B, Q, Cq) = (B, Q, 4), got (2, 1, 5)",
        lambda: ADDITIVE(ones(2, 5), X),
    ),
    no(
        "AdditiveAttention: query: expected shape (B, Q, Cq) = (B, Q, 4), got (4,)",
        lambda: ADDITIVE(ones(4), X),
    ),
    no(
        "AdditiveAttention: key: expected shape (B, K, Ck) = (2, K, 3), got (1, 5, 3)",
        lambda: ADDITIVE(ones(2, 4), X[:1]),
    ),
    no(
        "AdditiveAttention: value: expected shape (B, K, Cv) = (2, 5, Cv), got (2, 4, 3)",
        lambda: ADDITIVE(ones(2, 4), X, X[:, :4]),
    ),
    no(
        "AdditiveAttention: key: expected float32, got float64",
        lambda: ADDITIVE(ones(2, 4), np.ones((2, 5, 3))),
        TypeError,
    ),
    no(
        "AdditiveAttention: lengths: expected 0 <= length <= K = 5, got 6 at (0,)",
        lambda: ADDITIVE(ones(2, 4), X, lengths=[6, 1]),
    ),
    no(
        "AdditiveAttention: mask: expected a shape that broadcasts to (B, Q, K) = (2, 1, 5), "
        "got (2, 1, 4)",
        lambda: ADDITIVE(ones(2, 4), X, mask=np.ones((2, 4), bool)),
    ),
    no(
        "AdditiveAttention: mask: expected booleans, got float32",
        lambda: ADDITIVE(ones(2, 1, 4), X, mask=ones(2, 1, 5)),
        TypeError,
    ),
    no(
        "LuongAttention: score: expected 'dot' or 'general' or 'concat', got 'add'",
        lambda: recurra.LuongAttention("add", 3, 3),
    ),
    no(
        "LuongAttention: key_size: expected query_size = 3 for 'dot', got 4",
        lambda: recurra.LuongAttention("dot", 3, 4),
    ),
    no(
        "LuongAttention: hidden_size: expected an int for 'concat', got None",
        lambda: recurra.LuongAttention("concat", 3, 4),
    ),
    no(
        "LuongAttention: hidden_size: expected None for 'general', got 5",
        lambda: recurra.LuongAttention("general", 3, 4, 5),
    ),
    no(
        "MultiheadAttention: embed_dim: expected a multiple of num_heads = 2, got 5",
        lambda: recurra.MultiheadAttention(5, 2),
    ),
    no(
        "MultiheadAttention: value: expected shape (B, K, E) = (2, 5, 4), got (2, 5, 3)",
        lambda: HEADS(ones(2, 3, 4), ones(2, 5, 4), X),
    ),
    no(
        "scaled_dot_product_attention: query: expected shape (B, Q, Cq) = (B, Q, 3), got (2, 3)",
        lambda: scaled_dot_product_attention(ones(2, 3), X, X),
    ),
    no(
        "scaled_dot_product_attention: scale: expected a finite number, got nan",
        lambda: scaled_dot_product_attention(X, X, X, scale=float("nan")),
    ),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED)
def test_refused(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match="^" + re.escape(text) + "$"):
        call()


def test_empty_batches() -> None:
    x = Tensor(ones(0, 5, 3), requires_grad=True)
    query = ones(0, 2, 4)
    results = [
        recurra.Conv1d(3, 3, 3, groups=3)(x),
        POOL(x, lengths=np.zeros(0, int)),
        recurra.AvgPool1d(3)(x),
        *(recurra.GlobalPool1d(mode)(x) for mode in ("last", "mean", "max")),
        recurra.AdaptiveAvgPool1d(2)(x),
        recurra.LayerNorm(3)(x),
        recurra.BatchNorm(3).eval()(x),
        recurra.VariationalDropout(0.5)(x),
        ADDITIVE(query, x)[0],
        HEADS(query, query, query)[0],
    ]
    for y in results:
        assert y.shape[0] == 0
    recurra.ops.concatenate([recurra.ops.reshape(y, (-1,)) for y in results]).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_no_queries_and_no_keys() -> None:
    context, weights = ADDITIVE(ones(2, 0, 4), X)
    assert (context.shape, weights.shape) == ((2, 0, 3), (2, 0, 5))
    context, weights = ADDITIVE(ones(2, 3, 4), ones(2, 0, 3), ones(2, 0, 6))
    assert (context.shape, weights.shape) == ((2, 3, 6), (2, 3, 0))
    assert not context.data.any()


def test_infinite_and_nan_inputs_come_through() -> None:
    """What is valid is not hidden: a NaN that goes in comes out."""
    x = X.copy()
    x[0, 2] = np.nan
    for layer in (CONV, POOL, recurra.GlobalPool1d("max"), recurra.GlobalPool1d("mean")):
        y = layer(x).data
        assert np.isnan(y[0]).any()
        assert np.isfinite(y[1]).all()


class Pair(recurra.Module):
    def __init__(self) -> None:
        self.gru = recurra.GRU(3, 2)

    def forward(self, x: Any) -> Any:
        return self.gru(x)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda y: recurra.mse(y, X), "mse: prediction"),
        (lambda y: recurra.mse(X, y), "mse: target"),
        (lambda y: recurra.cross_entropy(y, [0]), "cross_entropy: logits"),
        (recurra.Linear(2, 3), "linear: x"),
        (recurra.GRU(2, 3), "GRU: x"),
        (recurra.ops.relu, "relu: x"),
        (lambda y: recurra.metrics.mae(y, X), "mae: outputs"),
    ],
)
def test_a_state_that_was_forgotten(call: Callable[[Any], Any], argument: str) -> None:
    """The usual slip: `layer(x)` where `y, _ = layer(x)` was meant."""
    for layer in recurra.GRU(3, 2), recurra.LSTM(3, 2):
        with pytest.raises(TypeError) as caught:
            call(layer(X))
        assert str(caught.value) == (
            f"{argument}: expected an array or a tensor, got a tuple with a tensor in it; a "
            "recurrent layer returns (y, state)"
        )


def test_a_forward_that_returns_its_state_too() -> None:
    model = Pair()
    optimizer = recurra.SGD(model.parameters(), 0.1)
    text = "^mse: prediction: expected an array or a tensor, got a tuple with a tensor in it"
    with pytest.raises(TypeError, match=text):
        recurra.train.fit(model, (X, ones(2, 5, 2)), recurra.mse, optimizer)


def test_a_nan_stays_in_its_part() -> None:
    x = np.ones((1, 6, 1))
    x[0, 1] = np.nan
    y = recurra.AdaptiveAvgPool1d(3)(x).data
    assert np.isnan(y[0, 0])
    assert y[0, 1:].tolist() == [[1], [1]]


def test_unsigned_lengths() -> None:
    lengths = np.array([5, 2], np.uint64)
    for layer in (CONV, POOL, GLOBAL, NORM):
        assert layer(X, lengths=lengths).data.tobytes() == layer(X, lengths=ROWS).data.tobytes()
