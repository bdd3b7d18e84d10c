"""Layers over time against loops in plain NumPy, with drawn sizes and options."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import recurra
from recurra.layers import scaled_dot_product_attention
from tensor_gradients import array

SIZES = st.integers(1, 4)
STEPS = st.integers(1, 12)


@st.composite
def batches(draw: Any) -> tuple[np.ndarray, list[int]]:
    """x (B, T, 4) and lengths."""
    batch, steps = draw(SIZES), draw(STEPS)
    lengths = draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    return array(batch, steps, 4, seed=draw(st.integers(0, 99))), lengths


def slide(
    row: np.ndarray, kernel: int, stride: int, sides: tuple[int, int], dilation: int, fill: float
) -> list[np.ndarray]:
    """The windows (K, C) of one row (T, C)."""
    if len(row) == 0:
        return []
    filled = np.pad(row, (sides, (0, 0)), constant_values=fill)
    last = len(filled) - dilation * (kernel - 1)
    return [filled[t : t + dilation * kernel : dilation][:kernel] for t in range(0, last, stride)]


def check_rows(
    y: np.ndarray, x: np.ndarray, lengths: list[int], of_row: Callable[..., Any]
) -> None:
    """Each row is what `of_row` makes of its valid steps, and zeros."""
    for out, row, n in zip(y, x, lengths, strict=True):
        expected = of_row(row[:n])
        assert len(expected) <= len(out)
        np.testing.assert_allclose(out[: len(expected)], expected or out[:0], atol=1e-12)
        assert not out[len(expected) :].any()


@given(
    batches(), SIZES, SIZES, SIZES, st.sampled_from([0, 1, 3, "same", "causal", "valid"]),
    st.sampled_from([1, 2, 4]),
)  # fmt: skip
@settings(max_examples=60)
def test_conv1d(
    batch: tuple[np.ndarray, list[int]],
    kernel: int,
    stride: int,
    dilation: int,
    padding: int | str,
    groups: int,
) -> None:
    x, lengths = batch
    room = dilation * (kernel - 1)
    assume(padding != "same" or stride == 1)
    named = {"same": (room // 2, room - room // 2), "causal": (room, 0), "valid": (0, 0)}
    sides = named[padding] if isinstance(padding, str) else (padding, padding)
    assume(x.shape[1] + sum(sides) > room)
    layer = recurra.Conv1d(4, 8, kernel, stride, padding, dilation, groups, dtype=np.float64)
    assert layer.bias is not None
    weight, bias = layer.weight.data, layer.bias.data

    def of_window(window: np.ndarray) -> np.ndarray:
        of_group = window.reshape(kernel, groups, -1)
        return np.array(
            [bias[o] + (weight[o].T * of_group[:, o * groups // 8]).sum() for o in range(8)]
        )

    def of_row(row: np.ndarray) -> list[np.ndarray]:
        return [of_window(w) for w in slide(row, kernel, stride, sides, dilation, 0)]

    check_rows(layer(x, lengths).data, x, lengths, of_row)


@given(batches(), SIZES, SIZES, st.integers(0, 2))
@settings(max_examples=60)
def test_pools(batch: tuple[np.ndarray, list[int]], kernel: int, stride: int, padding: int) -> None:
    x, lengths = batch
    assume(2 * padding <= kernel <= x.shape[1] + 2 * padding)
    sides = (padding, padding)

    def pooled(fill: float, reduce: Callable[..., Any]) -> Callable[..., Any]:
        return lambda row: [reduce(w, axis=0) for w in slide(row, kernel, stride, sides, 1, fill)]

    sizes = kernel, stride, padding
    check_rows(recurra.MaxPool1d(*sizes)(x, lengths).data, x, lengths, pooled(-np.inf, np.max))
    check_rows(recurra.AvgPool1d(*sizes)(x, lengths).data, x, lengths, pooled(0, np.mean))
    y = recurra.AvgPool1d(*sizes, count_include_pad=False)(x, lengths).data
    check_rows(y, x, lengths, pooled(np.nan, np.nanmean))


@given(batches(), st.integers(1, 5))
@settings(max_examples=60)
def test_pools_of_rows(batch: tuple[np.ndarray, list[int]], parts: int) -> None:
    x, lengths = batch
    for mode, reduce in (("max", np.max), ("mean", np.mean)):
        y = recurra.GlobalPool1d(mode)(x, lengths).data[:, None]
        check_rows(y, x, lengths, lambda row, f=reduce: [f(row, axis=0)] if len(row) else [])
    check_rows(
        recurra.GlobalPool1d("last")(x, lengths).data[:, None], x, lengths, lambda r: [*r[-1:]]
    )

    def of_row(row: np.ndarray) -> list[np.ndarray]:
        edges = [len(row) * i / parts for i in range(parts + 1)]
        ends = [(math.floor(a), math.ceil(b)) for a, b in itertools.pairwise(edges)]
        return [row[a:b].mean(0) for a, b in ends] if len(row) else []

    check_rows(recurra.AdaptiveAvgPool1d(parts)(x, lengths).data, x, lengths, of_row)


@given(batches())
@settings(max_examples=30)
def test_batch_norm(batch: tuple[np.ndarray, list[int]]) -> None:
    x, lengths = batch
    rows = np.concatenate([row[:n] for row, n in zip(x, lengths, strict=True)])
    assume(len(rows) > 1)
    y = recurra.BatchNorm(4, dtype=np.float64)(x, lengths).data
    spread = np.sqrt(rows.var(0) + 1e-5)
    check_rows(y, x, lengths, lambda row: [*((row - rows.mean(0)) / spread)])


@given(batches(), SIZES, st.integers(0, 99), st.booleans())
@settings(max_examples=60)
def test_attention(
    batch: tuple[np.ndarray, list[int]], queries: int, seed: int, is_causal: bool
) -> None:
    keys, lengths = batch
    size, steps = keys.shape[:2]
    query, values = array(size, queries, 4, seed=seed), array(size, steps, 3, seed=seed)
    mask = np.random.default_rng(seed).random((size, queries, steps)) < 0.7
    context, weights = scaled_dot_product_attention(
        query, keys, values, lengths, mask, is_causal=is_causal
    )
    for b, q in np.ndindex(size, queries):
        end = min(lengths[b], q + 1) if is_causal else lengths[b]
        seen = [k for k in range(end) if mask[b, q, k]]
        e = [math.exp(query[b, q] @ keys[b, k] / 2) for k in seen]
        expected = np.zeros(steps)
        expected[seen] = np.array(e) / sum(e)
        np.testing.assert_allclose(weights.data[b, q], expected, atol=1e-12)
        np.testing.assert_allclose(context.data[b, q], expected @ values[b], atol=1e-12)
