"""A row of a padded batch has the bits that it has alone; threads change nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import Module, Tensor
from recurra.layers import scaled_dot_product_attention
from tensor_gradients import array

B, T, C = 4, 37, 5
LENGTHS = np.array([37, 3, 20, 8])

# The shortest row is long enough for every window.
OVER_TIME: dict[str, Callable[[Any], Module]] = {
    "conv valid": lambda d: recurra.Conv1d(C, 7, 3, dtype=d),
    "conv stride": lambda d: recurra.Conv1d(C, 7, 3, stride=2, padding=1, dtype=d),
    "conv same": lambda d: recurra.Conv1d(C, 7, 4, padding="same", dilation=2, dtype=d),
    "conv causal": lambda d: recurra.Conv1d(C, 10, 3, padding="causal", groups=5, dtype=d),
    "max pool": lambda d: recurra.MaxPool1d(3, 2, 1),
    "avg pool": lambda d: recurra.AvgPool1d(3, 1, 1),
    "avg pool, no padding": lambda d: recurra.AvgPool1d(2, count_include_pad=False),
    "adaptive": lambda d: recurra.AdaptiveAvgPool1d(6),
    "last": lambda d: recurra.GlobalPool1d("last"),
    "mean": lambda d: recurra.GlobalPool1d("mean"),
    "max": lambda d: recurra.GlobalPool1d("max"),
    "batch norm": lambda d: recurra.BatchNorm(C, dtype=d).eval(),
}


def padded(dtype: Any, fill: float = np.nan) -> np.ndarray:
    """Rows with `fill` behind their lengths."""
    x = array(B, T, C).astype(dtype)
    x[np.arange(T) >= LENGTHS[:, None]] = fill
    return x


def forward_and_backward(call: Any, x: np.ndarray, g: Any = None) -> tuple[np.ndarray, np.ndarray]:
    leaf = Tensor(x, requires_grad=True)
    y = call(leaf)
    y.backward(np.ones_like(y.data) if g is None else g)
    assert leaf.grad is not None
    return y.data, leaf.grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OVER_TIME)
def test_a_row_has_the_bits_that_it_has_alone(name: str, dtype: Any) -> None:
    layer, x = OVER_TIME[name](dtype), padded(dtype)
    y, dx = forward_and_backward(lambda x: layer(x, lengths=LENGTHS), x)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    for b, n in enumerate(LENGTHS):
        row, drow = forward_and_backward(layer, x[b : b + 1, :n])
        valid = slice(None, row.shape[1]) if row.ndim == 3 else slice(None)
        assert y[b, valid].tobytes() == row[0].tobytes()
        assert row.ndim == 2 or not y[b, row.shape[1] :].any()
        assert dx[b, :n].tobytes() == drow[0].tobytes()
        assert not dx[b, n:].any()


@pytest.mark.parametrize("name", [n for n in OVER_TIME if "conv" in n or "pool" in n])
def test_output_lengths(name: str) -> None:
    layer: Any = OVER_TIME[name](np.float32)
    alone = [layer(np.zeros((1, n, C), np.float32)).shape[1] for n in LENGTHS]
    assert layer.output_lengths(LENGTHS).tolist() == alone
    assert layer.output_lengths([0]).tolist() == [0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_norm_sees_one_vector(dtype: Any) -> None:
    layer, x = recurra.LayerNorm(33, dtype=dtype), array(B, T, 33).astype(dtype)
    y, dx = forward_and_backward(layer, x, x)
    for b, t in ((0, 0), (3, 36), (1, 17)):
        one, done = forward_and_backward(layer, x[b, t], x[b, t])
        assert one.tobytes() == y[b, t].tobytes()
        assert done.tobytes() == dx[b, t].tobytes()
    turned = np.asfortranarray(x)
    assert layer(turned).data.tobytes() == y.tobytes()


def test_statistics_of_a_batch_do_not_see_padding() -> None:
    short, long = recurra.BatchNorm(C), recurra.BatchNorm(C)
    x = padded(np.float32)
    valid = np.arange(T) < LENGTHS[:, None]
    y = long(x, lengths=LENGTHS)
    rows = short(x[valid])
    assert y.data[valid].tobytes() == rows.data.tobytes()
    assert not y.data[~valid].any()
    masked = recurra.BatchNorm(C)(x, mask=valid)
    both = recurra.BatchNorm(C)(x, lengths=np.full(B, T), mask=valid)
    assert masked.data.tobytes() == both.data.tobytes() == y.data.tobytes()
    for name, values in short.state_dict().items():
        assert values.tobytes() == long.state_dict()[name].tobytes()


def attentions(dtype: Any) -> dict[str, Callable[..., tuple[Tensor, Tensor]]]:
    return {
        "additive": recurra.AdditiveAttention(C, C, 8, dtype),
        "dot": recurra.LuongAttention("dot", C, C, dtype=dtype),
        "general": recurra.LuongAttention("general", C, C, dtype=dtype),
        "concat": recurra.LuongAttention("concat", C, C, 8, dtype),
        "scaled": lambda q, k, **rest: scaled_dot_product_attention(q, k, k, **rest),
        "multihead": lambda q, k, **rest: recurra.MultiheadAttention(C, 1, dtype=dtype)(
            q, k, k, **rest
        ),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", attentions(np.float32))
def test_attention_of_a_row_does_not_see_padding(name: str, dtype: Any) -> None:
    def call(q: np.ndarray, k: np.ndarray, **rest: Any) -> list[np.ndarray]:
        recurra.manual_seed(0)
        leaf, keys = Tensor(q, requires_grad=True), Tensor(k, requires_grad=True)
        context, weights = attentions(dtype)[name](leaf, keys, **rest)
        context.backward(np.ones_like(context.data))
        assert leaf.grad is not None
        assert keys.grad is not None
        return [context.data, leaf.grad, weights.data, keys.grad]

    query, keys = array(B, 6, C).astype(dtype), padded(dtype, np.inf)
    context, dquery, weights, dkeys = call(query, keys, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        one = slice(b, b + 1)
        alone = call(query[one], keys[one, :n])
        assert context[b].tobytes() == alone[0][0].tobytes()
        assert dquery[b].tobytes() == alone[1][0].tobytes()
        assert weights[b][..., :n].tobytes() == alone[2][0].tobytes()
        assert dkeys[b, :n].tobytes() == alone[3][0].tobytes()
        assert not weights[b][..., n:].any()
        assert not dkeys[b, n:].any()


def test_keys_that_no_query_sees_may_hold_anything() -> None:
    recurra.manual_seed(0)
    layer = recurra.AdditiveAttention(C, C, 8)
    keys = padded(np.float32)
    layer(np.ones((B, 2, C), np.float32), keys, lengths=LENGTHS)[0].sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert np.isfinite(parameter.grad).all()


def test_a_query_without_keys_gets_zeros() -> None:
    for call in attentions(np.float32).values():
        query, keys = Tensor(array(2, 3, C).astype(np.float32), True), padded(np.float32)[:2]
        _, weights = call(query, keys, lengths=[0, 2])
        assert not weights.data[0].any()
        assert weights.data[1].any()
        weights.sum().backward()
        assert query.grad is not None
        assert np.isfinite(query.grad).all()


def test_threads_change_nothing() -> None:
    def bits() -> list[bytes]:
        recurra.manual_seed(1)
        convolution = recurra.Conv1d(64, 64, 3, padding="same")
        attention = recurra.MultiheadAttention(64, 4)
        norm, x = recurra.BatchNorm(64), array(16, 100, 64).astype(np.float32)
        z = norm(convolution(x, np.arange(16) * 6 + 1))
        y, weights = attention(z, z, z, is_causal=True)
        (y * y).sum().backward()
        found = [y.data, weights.data, norm.running_var.data]
        for layer in (convolution, attention, norm):
            found += [p.grad for p in layer.parameters() if p.grad is not None]
        return [a.tobytes() for a in found]

    with recurra.num_threads(1):
        one = bits()
    with recurra.num_threads(2):
        assert bits() == one


class Recognizer(Module):
    """Convolution and pooling, a recurrent layer, attention: what a padded batch goes through."""

    def __init__(self) -> None:
        self.convolution = recurra.Conv1d(C, 8, 3, padding="same")
        self.norm = recurra.BatchNorm(8)
        self.drop = recurra.VariationalDropout(0.2)
        self.pool = recurra.MaxPool1d(2)
        self.rnn = recurra.GRU(8, 6, bidirectional=True)
        self.attention = recurra.LuongAttention("general", 12, 12)
        self.mean = recurra.GlobalPool1d("mean")
        self.out = recurra.Linear(12, 2)

    def forward(self, x: Any, lengths: Any) -> Tensor:
        y = self.drop(self.norm(self.convolution(x, lengths), lengths))
        y, lengths = self.pool(y, lengths), self.pool.output_lengths(lengths)
        y, _ = self.rnn(y, lengths=lengths)
        context, _ = self.attention(self.mean(y, lengths), y, lengths=lengths)
        return self.out(context)


def test_a_whole_model_does_not_see_padding() -> None:
    recurra.manual_seed(0)
    model, x = Recognizer().eval(), padded(np.float32)
    y = model(x, LENGTHS).data
    for b, n in enumerate(LENGTHS):
        alone = model(x[b : b + 1, :n], LENGTHS[b : b + 1]).data
        assert y[b].tobytes() == alone[0].tobytes()


def test_more_padding_changes_no_step_of_training() -> None:
    def train(x: np.ndarray) -> list[Any]:
        recurra.manual_seed(0)
        model = Recognizer()
        optimizer = recurra.Adam(model.parameters(), lr=0.01)
        losses = []
        for _ in range(60):
            loss = recurra.cross_entropy(model(x, LENGTHS), [0, 1, 0, 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.1 < losses[0]
        return [losses, *(a.tolist() for a in model.state_dict().values())]

    x = padded(np.float32)
    longer = np.concatenate([x, np.full((B, 11, C), np.nan, np.float32)], axis=1)
    found = train(longer)
    assert found[0][0] == train(x)[0][0]
    assert found == train(x)
