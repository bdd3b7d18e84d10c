"""`Module.summary`: its numbers against what the core keeps, and what the system says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import functional, random
from recurra._recurrent import Recurrent
from steady import STEADY

B, T, I, H = 6, 20, 5, 16

LAYERS: dict[str, Any] = {
    "rnn": lambda **k: recurra.RNN(I, H, **k),
    "lstm": lambda **k: recurra.LSTM(I, H, **k),
    "lstm_projected": lambda **k: recurra.LSTM(I, H, proj_size=8, **k),
    "gru": lambda **k: recurra.GRU(I, H, **k),
    "gru_before": lambda **k: recurra.GRU(I, H, reset_after=False, **k),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def without_state(layer: Recurrent) -> recurra.Sequential:
    """The layer, but that its last state is not put out: that would be kept as well."""
    return recurra.Sequential(layer, lambda y: y)


def saved_bytes(layer: Recurrent, width: int, i: int = 0, **options: Any) -> int:
    """What the core says that cell `i` keeps of a batch with `width` features."""
    x = np.zeros((B, T, width), layer.dtype)
    cell = layer._cell
    saved = cell.forward(x, **layer._arrays(i), **cell.options, **options)[-1]
    return int(saved.nbytes)


@every_layer
@pytest.mark.parametrize("memory", ["keep", "low"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_layer_keeps_what_its_saved_says(make: Any, memory: str, dtype: type) -> None:
    layer = make(memory=memory, dtype=dtype)
    kept = without_state(layer).summary((B, T, I)).kept_bytes
    assert kept == saved_bytes(layer, I, memory=memory)


@every_layer
def test_a_stack_keeps_the_saved_of_each_and_no_more_than_what_passes_between(make: Any) -> None:
    layer = make(num_layers=3, bidirectional=True)
    wide = layer._stack.widths[0] * 2
    least = sum(saved_bytes(layer, I if i < 2 else wide, i) for i in range(6))
    between = 2 * B * T * wide * 4 + 100  # and where the two directions were joined
    assert least <= without_state(layer).summary((B, T, I)).kept_bytes <= least + between


def test_every_byte_of_a_model() -> None:
    model = recurra.Sequential(
        recurra.Embedding(11, I), recurra.GRU(I, H), recurra.Dropout(0.5), recurra.Linear(H, 3)
    )
    summary = model.summary((B, T), dtype=np.int64)
    ids, y, out = B * T * 8, B * T * H * 4, B * T * 3 * 4
    x = B * T * I * 4
    kept = {row.name: row.kept_bytes for row in summary.rows}
    saved = saved_bytes(model[1], I)
    # The embedding a copy of its ids, the mask of the dropout, the input of the linear map. The
    # recurrent layer may hold on to its input beside what is saved.
    assert kept | {"1": 0} == {"": 0, "0": ids, "1": 0, "2": y, "3": y}
    assert saved <= kept["1"] <= saved + x
    assert summary.passing_bytes == ids + out
    assert summary.parameter_bytes == 4 * model.num_parameters()
    together = 2 * summary.parameter_bytes + ids + out + sum(kept.values())
    assert summary.training_bytes == together
    assert model.eval().summary((B, T), dtype=np.int64).kept_bytes == sum(kept.values()) - 2 * y + y


GROWTH = """
import numpy as np, recurra
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * {page}
recurra.set_num_threads(1)
model = recurra.Sequential({layers})
x = np.ones({shape}, np.float32)
model(x[:, :32])
before = resident()
y = model(x)
grown = resident() - before  # before the summary, whose freed memory would be used again
print(grown, model.summary(x.shape).kept_bytes + y.data.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured in /proc")
@pytest.mark.parametrize(
    "layers",
    [
        "recurra.LSTM(32, 64), recurra.Linear(64, 8)",
        "recurra.GRU(32, 64, num_layers=2), recurra.ops.tanh, recurra.Linear(64, 8)",
        "recurra.RNN(32, 96, memory='low'), recurra.Dropout(0.1), recurra.Linear(96, 8)",
        "recurra.GRU(32, 64, num_layers=2, memory='low'), recurra.Linear(64, 8)",
    ],
)
def test_a_forward_pass_grows_the_process_by_what_is_said(layers: str) -> None:
    """To a tenth: what is kept, and the output."""
    import resource

    code = STEADY + GROWTH.format(layers=layers, shape=(16, 2048, 32), page=resource.getpagesize())
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},  # what is freed is given back
        capture_output=True,
        text=True,
        check=True,
    )
    grown, said = map(int, run.stdout.split())
    assert 0.9 <= grown / said <= 1.1, (grown, said)


def test_a_summary_leaves_no_graph_to_the_garbage_collector() -> None:
    import gc

    from recurra.graph import Node

    model = recurra.Sequential(recurra.GRU(2, 3, num_layers=2), recurra.Linear(3, 1))
    gc.collect()
    gc.disable()
    before = [thing for thing in gc.get_objects() if isinstance(thing, Node)]  # of other tests
    try:
        model.summary((4, 5, 2))
        with pytest.raises(ValueError, match="2"):
            model.summary((4, 5, 3))
        after = [thing for thing in gc.get_objects() if isinstance(thing, Node)]
    finally:
        gc.enable()
    assert len(after) == len(before)


class Shared(recurra.Module):
    """A layer used twice under two names, operations of its own, and a layer that is not used."""

    def __init__(self) -> None:
        self.a = recurra.Linear(4, 4)
        self.again = recurra.Linear(4, 4)
        self.again.weight = self.a.weight
        self.twin = self.a
        self.idle = recurra.GRU(4, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.again(recurra.ops.tanh(self.twin(self.a(x) * scale)))


def test_rows_of_a_model_that_shares() -> None:
    summary = Shared().summary((7, 4))
    rows = {row.name: row for row in summary.rows}
    assert list(rows) == ["", "a", "again", "idle"]
    assert (rows["a"].parameters, rows["again"].parameters) == (20, 4)
    assert summary.parameters == Shared().num_parameters()
    one = 7 * 4 * 4
    # The model's own: both operands of the product. Of `a`, which runs twice, the second input;
    # the first is the model's. The output of the tanh is the input of `again`.
    assert [rows[name].kept_bytes for name in rows] == [one + 4, one, one, 0]
    assert rows["idle"].output is None
    assert "not called" in str(summary)


def test_nodes_before_a_module_are_not_the_modules() -> None:
    class Model(recurra.Module):
        def __init__(self) -> None:
            self.inner = recurra.Dropout(0.0)

        def forward(self, x: Any) -> Any:
            return self.inner(recurra.ops.exp(recurra.ops.exp(x)))

    x = recurra.Tensor(np.zeros((5, 2)), requires_grad=True)
    rows = Model().summary(x).rows
    assert rows[0].kept_bytes == 2 * 80
    assert rows[1].kept_bytes == 80


def test_the_model_and_the_seed_stay_as_they_are() -> None:
    model = recurra.Sequential(recurra.GRU(I, H), recurra.Dropout(0.5))
    before, values = random.get_state(), model.state_dict()
    names = [set(vars(module)) for _, module in model.named_modules()]
    model.summary((B, T, I))
    assert random.get_state() == before
    assert [set(vars(module)) for _, module in model.named_modules()] == names
    assert all((values[name] == array).all() for name, array in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_arrays_options_and_lengths() -> None:
    layer = recurra.GRU(I, H)
    x, lengths = np.ones((B, T, I), np.float32), [3] * B
    ragged = functional.gru_forward(x, *layer._arrays(0).values(), lengths=lengths).saved.nbytes
    assert layer.summary(x, lengths=lengths).kept_bytes == ragged
    assert layer.summary(recurra.Tensor(x)).rows[0].output == (B, T, H)
    assert Shared().summary((7, 4), scale=2.0).rows[0].output == (7, 4)


def test_without_inputs_there_are_parameters_alone() -> None:
    summary = recurra.Sequential(recurra.Linear(3, 2), recurra.ops.tanh).summary()
    assert summary.kept_bytes is summary.training_bytes is summary.passing_bytes is None
    assert str(summary).splitlines() == [
        "layer              parameters",
        "Sequential()",
        "  0: Linear(3, 2)           8",
        "",
        "parameters                    32 B, 8 values",
    ]


def test_the_table_is_aligned() -> None:
    lines = str(Shared().summary((7, 4))).splitlines()
    assert lines[0].endswith("kept for backward")
    assert {len(line) for line in lines[:3]} == {len(lines[0])}
    assert lines[-1].startswith("together")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            ([2, 3],),
            TypeError,
            "inputs: expected an array, a tensor or a shape such as .* got list",
        ),
        (((2, -3),), ValueError, "inputs: expected an int >= 0, got -3"),
        (((2, 3.0),), TypeError, "inputs: expected an int, got float"),
    ],
)
def test_refusals(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^summary: {text}"):
        recurra.Linear(3, 1).summary(*given)


def test_a_shape_that_does_not_fit_is_the_layers_error_and_changes_nothing() -> None:
    model, before = recurra.GRU(I, H), random.get_state()
    with pytest.raises(ValueError, match=r"^GRU: x: expected shape"):
        model.summary((B, T, I + 1))
    assert random.get_state() == before
    assert "forward" not in vars(model)
