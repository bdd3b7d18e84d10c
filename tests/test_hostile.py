"""Calls as a user gets them wrong: each is refused in the one form before anything is done."""

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import (
    checkpoint,
    data,
    layers,
    lm,
    losses,
    metrics,
    ops,
    random,
    schedules,
    text,
    train,
)
from training import tagger

X = np.zeros((2, 3, 4), np.float32)
IDS = np.array([[0, 1, 2], [2, 1, 0]])
MASKED = np.ma.masked_array(X, X == 0)
RAGGED = [[1, 2], [3]]


def sgd() -> recurra.SGD:
    return recurra.SGD([recurra.Parameter(X.copy())], lr=0.1, momentum=0.9)


def fit(**settings: Any) -> Any:
    model, optimizer = tagger()
    targets = np.zeros((2, 3), int)
    return train.fit(model, (X[..., :2], targets), recurra.cross_entropy, optimizer, **settings)


CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # flags: any text would be true
    (lambda: recurra.Linear(4, 5, bias="no"), TypeError,  # type: ignore[arg-type]
     "Linear: bias: expected True or False, got str"),
    (lambda: recurra.GRU(4, 5, reset_after="no"), TypeError,  # type: ignore[arg-type]
     "GRU: reset_after: expected True or False, got str"),
    (lambda: recurra.GRU(4, 5, bidirectional="no"), TypeError,  # type: ignore[arg-type]
     "GRU: bidirectional: expected True or False, got str"),
    (lambda: recurra.RNN(4, 5, batch_first=1), TypeError,
     "RNN: batch_first: expected True or False, got int"),
    (lambda: recurra.Tensor(X, requires_grad="no"), TypeError,  # type: ignore[arg-type]
     "Tensor: requires_grad: expected True or False, got str"),
    (lambda: recurra.Conv1d(4, 5, 2, bias=0), TypeError,
     "Conv1d: bias: expected True or False, got int"),
    (lambda: recurra.LayerNorm(4, elementwise_affine=None), TypeError,  # type: ignore[arg-type]
     "LayerNorm: elementwise_affine: expected True or False, got NoneType"),
    (lambda: recurra.BatchNorm(4, affine=1), TypeError,
     "BatchNorm: affine: expected True or False, got int"),
    (lambda: recurra.MultiheadAttention(4, 2, bias="x"), TypeError,  # type: ignore[arg-type]
     "MultiheadAttention: bias: expected True or False, got str"),
    (lambda: layers.scaled_dot_product_attention(X, X, X, is_causal="no"),  # type: ignore[arg-type]
     TypeError, "scaled_dot_product_attention: is_causal: expected True or False, got str"),
    (lambda: recurra.EMA(recurra.Linear(2, 2), use_buffers=1), TypeError,
     "EMA: use_buffers: expected True or False, got int"),
    (lambda: data.Arrays(X, X, 2, shuffle="yes"), TypeError,  # type: ignore[arg-type]
     "Arrays: shuffle: expected True or False, got str"),
    (lambda: data.Sequences([[1]], [1], 1, drop_last=None), TypeError,  # type: ignore[arg-type]
     "Sequences: drop_last: expected True or False, got NoneType"),
    (lambda: fit(progress="no"), TypeError, "fit: progress: expected True or False, got str"),
    # numbers
    (lambda: recurra.Dropout("0.5"), TypeError,  # type: ignore[arg-type]
     "Dropout: p: expected a number, got str"),
    (lambda: recurra.LSTM(4, 5, 2, dropout=[0.1]), TypeError,  # type: ignore[arg-type]
     "LSTM: dropout: expected a number, got list"),
    (lambda: recurra.Adam(recurra.Linear(2, 2).parameters(), lr="0.1"), TypeError,
     "Adam: lr: expected a number, got str"),
    (lambda: recurra.clip_grad_norm([recurra.Parameter(X)], None), TypeError,  # type: ignore[arg-type]
     "clip_grad_norm: max_norm: expected a number, got NoneType"),
    (lambda: recurra.BatchNorm(4, momentum="0.1"), TypeError,  # type: ignore[arg-type]
     "BatchNorm: momentum: expected a number, got str"),
    (lambda: losses.huber(X, X, delta=X), TypeError,  # type: ignore[arg-type]
     "huber: delta: expected a number, got ndarray"),
    (lambda: losses.gaussian_nll(X, X, X + 1, eps="0"), TypeError,  # type: ignore[arg-type]
     "gaussian_nll: eps: expected a number, got str"),
    (lambda: schedules.OneCycleLR(sgd(), "0.1", 5), TypeError,
     "OneCycleLR: max_lr: expected a number, got str"),
    (lambda: schedules.OneCycleLR(sgd(), 0.1, 5, div_factor=0), ValueError,
     "OneCycleLR: div_factor: expected a finite number above 0, got 0"),
    (lambda: schedules.ReduceLROnPlateau(sgd()).step("low"), TypeError,  # type: ignore[arg-type]
     "ReduceLROnPlateau.step: metric: expected a number, got str"),
    (lambda: data.MinMaxScaler(None, 1), TypeError,  # type: ignore[arg-type]
     "MinMaxScaler: low: expected a number, got NoneType"),
    (lambda: data.pad_sequences([[1], [1, 2]], padding_value="x"), TypeError,  # type: ignore[arg-type]
     "pad_sequences: padding_value: expected a number, got str"),
    (lambda: random.uniform(3, "low"), TypeError,  # type: ignore[arg-type]
     "uniform: low: expected a number, got str"),
    (lambda: random.normal((2, -1)), ValueError, "normal: shape: expected an int >= 0, got -1"),
    (lambda: recurra.Linear(2**40, 2**40), MemoryError,
     f"uniform: shape: expected a shape that memory holds, got {(2**40, 2**40)}"),
    (lambda: fit(clip_norm="1"), TypeError, "fit: clip_norm: expected a number, got str"),
    (lambda: text.split(np.arange(9), "0.1"), TypeError,  # type: ignore[arg-type]
     "split: validation: expected a number, got str"),
    (lambda: ops.clip(X, "low"), TypeError,  # type: ignore[arg-type]
     "clip: low: expected a number, got str"),
    (lambda: metrics.edit_distance(3, "a"), TypeError,
     "edit_distance: a: expected a sequence, got int"),
    (lambda: metrics.word_error_rate(3, ["a"]), TypeError,  # type: ignore[arg-type]
     "WordErrorRate: outputs: expected sequences, got int"),
    (lambda: data.time_split(3), TypeError,
     "time_split: values: expected an array, or what has a length, got int"),
    # states
    (lambda: recurra.Linear(2, 2).load_state_dict(3), TypeError,  # type: ignore[arg-type]
     "load_state_dict: state: expected a mapping of names, got int"),
    (lambda: sgd().load_state_dict([1]), TypeError,  # type: ignore[arg-type]
     "SGD.load_state_dict: state: expected a mapping of names, got list"),
    (lambda: schedules.StepLR(sgd(), 2).load_state_dict("x"), TypeError,  # type: ignore[arg-type]
     "StepLR.load_state_dict: state: expected a mapping of names, got str"),
    (lambda: data.StandardScaler().load_state_dict(None), TypeError,  # type: ignore[arg-type]
     "StandardScaler.load_state_dict: state: expected a mapping of names, got NoneType"),
    (lambda: random.set_state(3), TypeError,  # type: ignore[arg-type]
     "set_state: state: expected a mapping of names, got int"),
    # dtypes
    (lambda: data.pad_sequences([[1]], dtype="no"), TypeError,
     "pad_sequences: dtype: expected a dtype, got 'no'"),
    (lambda: recurra.Linear(4, 5, dtype=None), TypeError,
     "Linear: dtype: expected float32 or float64, got None"),
    (lambda: recurra.GRU(4, 5, dtype="double float"), TypeError,
     "GRU: dtype: expected float32 or float64, got 'double float'"),
    # arrays
    (lambda: recurra.Linear(4, 5)(MASKED), TypeError,
     "linear: x: expected an array without a mask, got MaskedArray"),
    (lambda: recurra.GRU(4, 5)(MASKED), TypeError,
     "GRU: x: expected an array without a mask, got MaskedArray"),
    (lambda: recurra.mse(recurra.Tensor(X), RAGGED), ValueError,  # type: ignore[arg-type]
     "mse: target: expected an array, or lists of equal lengths, got a list of different ones"),
    (lambda: recurra.Embedding(4, 5)(RAGGED), ValueError,
     "embedding: ids: expected an array, or lists of equal lengths, got a list of different ones"),
    (lambda: layers.linear(X, "w"), TypeError,  # type: ignore[arg-type]
     "linear: weight: expected float32 or float64, got <U1"),
    (lambda: layers.linear(X, X), ValueError,
     "linear: weight: expected shape (O, I), got (2, 3, 4)"),
    (lambda: layers.embedding(IDS, X), ValueError,
     "embedding: weight: expected shape (V, E), got (2, 3, 4)"),
    (lambda: layers.layer_norm(X, IDS), TypeError,
     "layer_norm: weight: expected float32, got int64"),
    (lambda: layers.dropout("x", 0.5), TypeError,  # type: ignore[arg-type]
     "dropout: x: expected float32 or float64, got <U1"),
    (lambda: ops.tanh(None), TypeError,  # type: ignore[arg-type]
     "tanh: x: expected float32 or float64, got object"),
    (lambda: ops.sum(X, axis=3), ValueError, "sum: axis: expected -3 <= axis < 3, got 3"),
    (lambda: ops.mean(X, axis="T"), TypeError,  # type: ignore[arg-type]
     "mean: axis: expected an int, got str"),
    (lambda: ops.max(X, axis=(0, -3)), ValueError,
     "max: axis: expected each axis once, got (0, -3)"),
    (lambda: ops.softmax(X, axis=-4), ValueError, "softmax: axis: expected -3 <= axis < 3, got -4"),
    (lambda: ops.reshape(X, (5, 5)), ValueError,
     "reshape: shape: expected one of 24 elements as (2, 3, 4) has, got (5, 5)"),
    (lambda: ops.transpose(X, (0, 1)), ValueError,
     "transpose: axes: expected each axis of shape (2, 3, 4) once, got (0, 1)"),
    (lambda: ops.concatenate([]), ValueError,
     "concatenate: tensors: expected at least one, got none"),
    (lambda: ops.concatenate([X, X[:, :2]]), ValueError,  # type: ignore[list-item]
     "concatenate: tensors: expected shapes that differ along axis 0 alone, "
     "got (2, 3, 4), (2, 2, 4)"),
    (lambda: ops.concatenate([X, X.astype(float)]), TypeError,  # type: ignore[list-item]
     "concatenate: input: expected float32, got float64"),
    (lambda: ops.stack([X, X[0]]), ValueError,  # type: ignore[list-item]
     "stack: tensors: expected one shape, got (2, 3, 4), (3, 4)"),
    # metrics
    (lambda: metrics.mae(["a"], [1.0]), TypeError, "mae: outputs: expected real numbers, got <U1"),
    (lambda: metrics.mae([1.0], [1.0], weights=[-1]), ValueError,
     "mae: weights: expected finite numbers >= 0, got -1 at (0,)"),
    (lambda: metrics.accuracy([1], [1], weights=[np.nan]), ValueError,
     "accuracy: weights: expected finite numbers >= 0, got nan at (0,)"),
    (lambda: metrics.auc([0.5, 1], [0, 1], weights=["a", "b"]), TypeError,
     "auc: weights: expected booleans or real numbers, got <U1"),
    (lambda: metrics.f1([0, 1], [0, np.nan]), TypeError,
     "confusion_matrix: targets: expected integers, got float64"),
    (lambda: metrics.confusion_matrix([0], [0], 0), ValueError,
     "confusion_matrix: num_classes: expected an int >= 1, got 0"),
    (lambda: metrics.Accuracy().update(X, data.Batch(X, IDS, None, np.array([1, -1]))), ValueError,
     "Accuracy: weights: expected finite numbers >= 0, got -1 at (1,)"),
    (lambda: metrics.EditDistance("x"), TypeError,  # type: ignore[arg-type]
     "EditDistance: predicted: expected a function, got str"),
    (lambda: fit(metrics=["accuracy"]), TypeError, "fit: metrics: expected Metrics, got str"),
    (lambda: fit(metrics="accuracy"), TypeError,
     "fit: metrics: expected a list of Metrics, got str"),
    # others
    (lambda: schedules.OneCycleLR(sgd(), 0.1, 10, epochs=2), ValueError,
     "OneCycleLR: total_steps: expected it, or epochs and steps_per_epoch, got both"),
    (lambda: train.Checkpoints(3), TypeError,  # type: ignore[arg-type]
     "Checkpoints: folder: expected a path, got int"),
    (lambda: train.CSVLogger(None), TypeError,  # type: ignore[arg-type]
     "CSVLogger: path: expected a path, got NoneType"),
    (lambda: train.TensorBoard(3), TypeError,  # type: ignore[arg-type]
     "TensorBoard: folder: expected a path, got int"),
    (lambda: checkpoint.save(3, {}), TypeError,  # type: ignore[arg-type]
     "checkpoint.save: path: expected a path, got int"),
    (lambda: checkpoint.save("a", [X]), TypeError,  # type: ignore[arg-type]
     "checkpoint.save: tensors: expected arrays by name, got list"),
    (lambda: recurra.SWA("model"), TypeError,  # type: ignore[arg-type]
     "SWA: model: expected a Module, got str"),
    (lambda: recurra.SGD(3, lr=0.1), TypeError,  # type: ignore[arg-type]
     "SGD: params: expected an iterable of tensors, got int"),
    (lambda: schedules.MultiStepLR(sgd(), 3), TypeError,  # type: ignore[arg-type]
     "MultiStepLR: milestones: expected a list of numbers of steps, got int"),
    (lambda: schedules.ChainedScheduler(sgd(), None), TypeError,  # type: ignore[arg-type]
     "ChainedScheduler: schedulers: expected a list of schedules, got NoneType"),
    (lambda: fit(callbacks=3), TypeError, "fit: callbacks: expected a list of Callbacks, got int"),
    (lambda: data.Tokenizer().fit_on_texts(3), TypeError,  # type: ignore[arg-type]
     "Tokenizer.fit_on_texts: texts: expected a list of texts, got int"),
    (lambda: text.Vocabulary.of(b"ab"), TypeError,  # type: ignore[arg-type]
     "Vocabulary.of: text: expected a str, got bytes"),
    (lambda: len(recurra.Tensor(1.0)), TypeError,
     "len: tensor: expected at least one axis, got shape ()"),
    (lambda: layers.dropout(X, 0.5, shared=(3,)), ValueError,
     "dropout: axis: expected -3 <= axis < 3, got 3"),
    (lambda: layers.dropout(X, 0.5, shared=1), TypeError,  # type: ignore[arg-type]
     "dropout: shared: expected a list of axes, got int"),
    (lambda: checkpoint.save("a", {}, {"a": 1}), TypeError,  # type: ignore[dict-item]
     "checkpoint.save: tensors and metadata: expected texts for names, got int"),
    (lambda: data.create_sequences(X[0], 1, target_columns=slice("a")), IndexError,
     "create_sequences: target_columns: expected columns of (3, 4), "
     "got (slice(None, None, None), slice(None, 'a', None))"),
    (lambda: losses.sequence_mask(RAGGED, 3), ValueError,
     "sequence_mask: lengths: expected an array, or lists of equal lengths, "
     "got a list of different ones"),
    (lambda: data.blocked_folds(9, 3, gap=3), ValueError,
     "blocked_folds: gap: expected rows to train on in every fold, got 3"),
    (lambda: recurra.RNN(4, 5, nonlinearity=None), ValueError,  # type: ignore[arg-type]
     "RNN: nonlinearity: expected 'tanh' or 'relu', got None"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), CASES, ids=[case[2] for case in CASES])
def test_refused(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()


# By the operation and the argument that an error names: what takes a size or a count.
SIZES: dict[str, Callable[[Any], Any]] = {
    "RNN: input_size": lambda n: recurra.RNN(n, 4),
    "GRU: hidden_size": lambda n: recurra.GRU(3, n),
    "LSTM: num_layers": lambda n: recurra.LSTM(3, 4, num_layers=n),
    "LSTM: proj_size": lambda n: recurra.LSTM(3, 4, proj_size=n),
    "Linear: in_features": lambda n: recurra.Linear(n, 3),
    "Linear: out_features": lambda n: recurra.Linear(3, n),
    "LayerNorm: features": recurra.LayerNorm,
    "BatchNorm: num_features": recurra.BatchNorm,
    "Embedding: num_embeddings": lambda n: recurra.Embedding(n, 3),
    "Embedding: embedding_dim": lambda n: recurra.Embedding(3, n),
    "Conv1d: in_channels": lambda n: recurra.Conv1d(n, 4, 3),
    "Conv1d: out_channels": lambda n: recurra.Conv1d(4, n, 3),
    "Conv1d: kernel_size": lambda n: recurra.Conv1d(4, 4, n),
    "Conv1d: stride": lambda n: recurra.Conv1d(4, 4, 3, stride=n),
    "Conv1d: padding": lambda n: recurra.Conv1d(4, 4, 3, padding=n),
    "Conv1d: dilation": lambda n: recurra.Conv1d(4, 4, 3, dilation=n),
    "Conv1d: groups": lambda n: recurra.Conv1d(4, 4, 3, groups=n),
    "MaxPool1d: kernel_size": recurra.MaxPool1d,
    "AvgPool1d: padding": lambda n: recurra.AvgPool1d(2, padding=n),
    "AdaptiveAvgPool1d: output_size": recurra.AdaptiveAvgPool1d,
    "AdditiveAttention: key_size": lambda n: recurra.AdditiveAttention(3, n, 4),
    "MultiheadAttention: embed_dim": lambda n: recurra.MultiheadAttention(n, 1),
    "MultiheadAttention: num_heads": lambda n: recurra.MultiheadAttention(4, n),
    "WordDropout: unknown": lambda n: recurra.WordDropout(0.5, n),
    "CRF: num_tags": recurra.CRF,
    "ctc_beam_decode: beam_width": lambda n: recurra.ctc_beam_decode(X, beam_width=n),
    "ctc_greedy_decode: blank": lambda n: recurra.ctc_greedy_decode(X, blank=n),
    "uniform: shape": lambda n: random.uniform((2, n)),
    "Arrays: batch_size": lambda n: data.Arrays(X, X, n),
    "epoch: number": lambda n: data.Arrays(X, X, 1, shuffle=True).epoch(n),
    "Sequences: max_tokens": lambda n: data.Sequences([[1]], [1], max_tokens=n),
    "pad_sequences: length": lambda n: data.pad_sequences([[1]], n),
    "random_split: size": data.random_split,
    "blocked_folds: folds": lambda n: data.blocked_folds(9, n),
    "forward_folds: gap": lambda n: data.forward_folds(9, 2, gap=n),
    "sliding_windows: window": lambda n: data.sliding_windows(X, n),
    "create_sequences: stride": lambda n: data.create_sequences(X[0], 1, stride=n),
    "confusion_matrix: num_classes": lambda n: metrics.confusion_matrix([0], [0], n),
    "mase: season": lambda n: metrics.mase([1.0], [1.0], [1.0, 2.0], season=n),
    "sequence_mask: steps": lambda n: losses.sequence_mask([0], n),
    "StepLR: step_size": lambda n: schedules.StepLR(sgd(), n),
    "OneCycleLR: total_steps": lambda n: schedules.OneCycleLR(sgd(), 0.1, n),
    "ReduceLROnPlateau: patience": lambda n: schedules.ReduceLROnPlateau(sgd(), patience=n),
    "EarlyStopping: patience": train.EarlyStopping,
    "Checkpoints: every": lambda n: train.Checkpoints("a", every=n),
    "fit: epochs": lambda n: fit(epochs=n),
    "fit: accumulate": lambda n: fit(accumulate=n),
    "find_lr: steps": lambda n: train.find_lr(tagger()[0], (X, X), recurra.mse, sgd(), steps=n),
    "LMConfig: layers": lambda n: lm.LMConfig(layers=n),
    "summary: inputs": lambda n: recurra.Linear(2, 2).summary((n, 2)),
}
NO_SIZES = (2**63, 2**70, -(10**5000), -1, True, 1.0, np.float32(2), "3", [])


@pytest.mark.parametrize("name", SIZES)
def test_what_is_no_size(name: str) -> None:
    """Refused before any work: nothing is looped over or allocated."""
    for value in NO_SIZES:
        with pytest.raises((TypeError, ValueError), match=f"^{re.escape(name)}: expected .*, got "):
            SIZES[name](value)


@pytest.mark.parametrize(
    "call",
    [
        recurra.LayerNorm,
        recurra.BatchNorm,
        lambda n: recurra.Linear(n, 3),
        lambda n: recurra.Embedding(3, n),
        lambda n: recurra.Conv1d(4, 4, 2, padding=n >> 3)(X),
        lambda n: recurra.MaxPool1d(n, 1, n // 2)(X),
        lambda n: recurra.AdaptiveAvgPool1d(n)(X),
        lambda n: random.uniform((2, n)),
        lambda n: data.pad_sequences([[1]], length=n),
        data.random_split,
        lambda n: data.blocked_folds(n, n),
        lambda n: metrics.confusion_matrix([0], [0], n),
        lambda n: metrics.confusion_matrix([0], [n]),
        lambda n: losses.sequence_mask([1, 2], n),
        lambda n: recurra.Linear(2, 2).summary((n, n, 2)),
    ],
)
def test_no_memory_for_it(call: Callable[[int], Any]) -> None:
    for size in (2**50, 2**62, 2**63 - 1):
        with pytest.raises(
            MemoryError, match=r"^\w+: \w+: expected a shape that memory holds, got "
        ):
            call(size)


def test_large_steps_that_cost_nothing() -> None:
    """Where a number says how far to go, none is too far."""
    far = sys.maxsize
    assert recurra.Conv1d(4, 5, 2, stride=far)(X).shape == (2, 1, 5)
    assert recurra.Conv1d(4, 5, 1, dilation=far)(X).shape == (2, 3, 5)
    assert recurra.MaxPool1d(2, far)(X).shape == (2, 1, 4)
    assert len(list(data.Arrays(X, X, far, shuffle=True).epoch(np.int64(3)))) == 1  # type: ignore[arg-type]
    assert train.EarlyStopping(far).patience == far


INDICES: tuple[Any, ...] = (
    "a", 1.0, 2, -3, 2**63, 2**70, (0, 0, 0, 0), (0, "a"), [5], ["a"], [[1], [1, 2]],
    np.array([0.5]), np.array([2]), [True], slice("a"), slice(None, None, 0), recurra.Tensor(X),
)  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_no_index(index: Any) -> None:
    tensor = recurra.Tensor(X)
    with pytest.raises(
        IndexError, match=r"^getitem: index: expected an index of shape \(2, 3, 4\), "
    ):
        tensor[index]


def test_no_layer() -> None:
    model = recurra.Sequential(ops.tanh, ops.relu)
    assert (model[np.int64(-1)], model[1:], list(model)) == (ops.relu, (ops.relu,), [*model.layers])
    for index in (2, -3, 2**70, "a", None, 1.0):
        with pytest.raises(
            IndexError, match=r"^Sequential: index: expected an int from -2 to 1 or"
        ):
            model[index]


def test_operations_take_arrays_as_they_are() -> None:
    """As a layer does: a function stands in a `Sequential` before any."""
    for name in ("abs", "exp", "relu", "sigmoid", "softplus", "tanh", "sum", "max", "softmax"):
        operation = getattr(ops, name)
        found, wanted = operation(X + 1), operation(recurra.Tensor(X + 1))
        np.testing.assert_array_equal(found.data, wanted.data)
        assert found.dtype == np.float32
    model = recurra.Sequential(ops.tanh, recurra.Linear(4, 2))
    assert model(X).shape == (2, 3, 2)
