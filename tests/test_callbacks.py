"""Early stopping, logs, TensorBoard's files, the bar: what they write and where they end."""

import csv
import io
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import metrics
from recurra.train import (
    Callback,
    Checkpoints,
    CSVLogger,
    EarlyStopping,
    JSONLinesLogger,
    TensorBoard,
    fit,
)
from recurra.train.tensorboard import crc32c
from training import Windows, bits, tagger


class Scripted(Callback):
    """Puts a number into each row, and keeps the weights of each epoch."""

    def __init__(self, *values: float) -> None:
        self.values, self.weights = values, []

    def on_epoch_end(self, run: Any, row: dict[str, Any]) -> None:
        row["score"] = self.values[run.epoch - 1]
        self.weights.append(bits(run.model))


def run(*callbacks: Callback, epochs: int = 6, **kwargs: Any) -> tuple[Any, Any]:
    model, optimizer = tagger()
    kwargs = {"data": Windows(), "loss": recurra.cross_entropy} | kwargs
    return model, fit(model, optimizer=optimizer, epochs=epochs, callbacks=callbacks, **kwargs)


class TestEarlyStopping:
    @pytest.mark.parametrize(
        ("values", "kwargs", "epochs", "best"),
        [
            ([3, 2, 2.5, 2.1, 9, 9], {}, 4, 2),
            ([3, 2, 2.5, 2.4, 1, 9], {"min_delta": 0.05}, 4, 2),
            ([3, 2, 2.5, 1, 2, 0.5], {}, 6, 6),
            ([1, 2, 3, 2, 2, 9], {"mode": "max"}, 5, 3),
            ([3, 2.95, 2.9, 1, 1, 1], {"min_delta": 0.5}, 3, 1),
            ([math.nan, 2, math.nan, math.nan, 1, 1], {}, 4, 2),
            ([6, 5, 4, 3, 2, 1], {}, 6, 6),
        ],
    )
    def test_when_it_stops_and_what_it_restores(
        self, values: list[float], kwargs: dict[str, Any], epochs: int, best: int
    ) -> None:
        script = Scripted(*values)
        stopping = EarlyStopping(patience=2, monitor="score", **kwargs)
        model, history = run(script, stopping)
        assert len(history.rows) == epochs
        assert bits(model) == script.weights[best - 1]
        is_early = epochs < 6
        wanted = f"nothing better than epoch {best} in 2 epochs" if is_early else ""
        assert history.stopped == wanted

    def test_without_restoring(self) -> None:
        script = Scripted(1, 2, 3)
        stopping = EarlyStopping(2, "score", restore_best=False)
        model, _ = run(script, stopping, epochs=3)
        assert bits(model) == script.weights[2]

    def test_the_checkpoint_has_the_last_weights_and_the_best(self, tmp_path: Path) -> None:
        """Resuming a training that stopped early ends it again, with the best weights."""
        script = Scripted(1, 2, 3)
        run(script, EarlyStopping(2, "score"), checkpoints=tmp_path)
        last = recurra.train.load_model(tmp_path / "last.safetensors")
        assert {name: array.tobytes() for name, array in last.items()} == script.weights[2]
        stopping = EarlyStopping(2, "score")
        model, history = run(stopping, checkpoints=tmp_path, resume=True)
        assert history["epoch"] == [1, 2, 3]
        assert bits(model) == script.weights[0]

    def test_a_new_training_begins_anew(self) -> None:
        stopping = EarlyStopping(2, "score")
        for _ in range(2):
            _, history = run(Scripted(1, 2, 3), stopping)
            assert len(history.rows) == 3

    def test_an_unknown_name(self) -> None:
        with pytest.raises(ValueError, match=r"monitor: expected one of epoch, .*, got 'acc'"):
            run(EarlyStopping(monitor="acc"))
        with pytest.raises(ValueError, match="EarlyStopping: mode: expected 'min' or 'max'"):
            EarlyStopping(mode="low")


class TestLogs:
    def test_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "log.csv"
        _, history = run(CSVLogger(path), epochs=3, validation=Windows(1),
                         metrics=[metrics.Accuracy(), metrics.ConfusionMatrix()])  # fmt: skip
        lines = list(csv.DictReader(io.StringIO(path.read_text())))
        assert len(lines) == 3
        for line, row in zip(lines, history.rows, strict=True):
            numbers = {name: value for name, value in row.items() if "confusion" not in name}
            assert {name: float(text) for name, text in line.items()} == numbers

    def test_json_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        _, history = run(JSONLinesLogger(path, every=4), epochs=2,
                         metrics=[metrics.AUC(), metrics.ConfusionMatrix()])  # fmt: skip
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["step"] for line in lines] == [4, 6, 8, 12, 12]
        assert list(lines[0]) == ["step", "lr", "loss", "grad_norm", "seconds"]
        assert lines[1]["confusion_matrix"] == history["confusion_matrix"][0].tolist()
        assert lines[4]["loss"] == history["loss"][1]

    def test_what_is_no_number_is_null(self, tmp_path: Path) -> None:
        class Nothing(metrics.Metric):
            def update(self, outputs: Any, batch: Any) -> None:
                pass

            def compute(self) -> Any:
                return np.array([[1.0, math.inf]]), float("nan")

        path = tmp_path / "log.jsonl"
        with pytest.raises(TypeError, match="not JSON serializable"):
            run(JSONLinesLogger(path), metrics={"a": Nothing()}, epochs=1)
        Nothing.compute = lambda _: np.array([[1.0, math.inf]])  # type: ignore[method-assign]
        run(JSONLinesLogger(path), metrics={"a": Nothing()}, epochs=1)
        assert json.loads(path.read_text())["a"] == [[1.0, None]]

    @pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
    def test_resumed_it_has_each_epoch_once(self, logger: Any, tmp_path: Path) -> None:
        """Lines after the checkpoint, and one that was cut off, are dropped."""
        path = tmp_path / "log"
        run(logger(path), epochs=2, checkpoints=tmp_path)
        run(logger(path), epochs=4, checkpoints=tmp_path / "other")
        with path.open("a") as file:
            file.write('{"step": 3')
        run(logger(path), epochs=3, checkpoints=tmp_path, resume=True)
        text = path.read_text()
        if logger is CSVLogger:
            epochs = [int(line["epoch"]) for line in csv.DictReader(io.StringIO(text))]
        else:
            epochs = [json.loads(line)["epoch"] for line in text.splitlines()]
        assert epochs == [1, 2, 3]

    @pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
    def test_an_epoch_that_was_saved_before_its_end_is_there_once(
        self, logger: Any, tmp_path: Path
    ) -> None:
        """After its last step, that is, and then the logger wrote its line: it comes again."""
        path = tmp_path / "log"
        often = Checkpoints(tmp_path, 6, numbered=True)
        run(logger(path), epochs=2, checkpoints=often)
        whole = len(path.read_text().splitlines())
        run(
            logger(path), epochs=2, checkpoints=often, resume=tmp_path / "step-00000006.safetensors"
        )
        assert len(path.read_text().splitlines()) == whole

    @pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
    def test_another_file_is_not_touched(self, logger: Any, tmp_path: Path) -> None:
        path = tmp_path / "log"
        run(epochs=1, checkpoints=tmp_path)
        path.write_text("step,epoch\nnone,1\n")
        with pytest.raises(ValueError, match=r"log: expected the log of a training that is resum"):
            run(logger(path), epochs=2, checkpoints=tmp_path, resume=True)
        assert path.read_text() == "step,epoch\nnone,1\n"

    def test_other_columns_are_refused(self, tmp_path: Path) -> None:
        run(CSVLogger(tmp_path / "log"), epochs=1, checkpoints=tmp_path)
        with pytest.raises(ValueError, match=r"expected the columns .* of its header, got"):
            run(CSVLogger(tmp_path / "log"), epochs=2, checkpoints=tmp_path, resume=True,
                validation=Windows(1))  # fmt: skip


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """A message in protocol buffers' wire format, by their description."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value = struct.unpack({8: "<d", 4: "<f"}[size], data[at : at + size])[0]
            at += size
        found.append((number, value))
    return found


def records(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + size]
        for part, where in ((data[at : at + 8], at + 8), (body, at + 12 + size)):
            crc = crc32c(part)
            masked = ((crc >> 15) | (crc << 17)) + 0xA282EAD8
            assert struct.unpack_from("<I", data, where)[0] == masked % 2**32
        found.append(body)
        at += size + 16
    return found


class TestTensorBoard:
    def test_what_is_in_the_file(self, tmp_path: Path) -> None:
        _, history = run(TensorBoard(tmp_path / "run", every=4), epochs=2)
        [path] = (tmp_path / "run").iterdir()
        first, *events = [fields(record) for record in records(path.read_bytes())]
        assert first[2] == (3, b"brain.Event:2")
        steps = [dict(event)[2] for event in events]
        assert steps == [4, 6, 8, 12, 12]
        values = {}
        for _, value in fields(dict(events[-1])[5]):
            name, number = dict(fields(value)).values()
            values[name.decode()] = number
        assert values["loss"] == np.float32(history["loss"][1])
        assert set(values) == {"epoch", "lr", "loss", "grad_norm", "seconds"}

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -0.0])
    def test_any_number(self, value: float) -> None:
        from recurra.train.tensorboard import event

        _, number = dict(
            fields(fields(dict(fields(event(0.0, 300, {"a": value})))[5])[0][1])
        ).values()
        with np.errstate(over="ignore"):
            np.testing.assert_equal(number, float(np.float32(value)))


class TestProgress:
    def test_quiet_where_nobody_looks(self, capfd: pytest.CaptureFixture[str]) -> None:
        run(epochs=2)
        assert capfd.readouterr() == ("", "")

    def test_shown_if_wanted(self, capsys: pytest.CaptureFixture[str]) -> None:
        run(epochs=2, progress=True, validation=Windows(1))
        err = capsys.readouterr().err
        assert "12/12" in err
        assert "epoch 2, loss" in err
        assert "validation" in err

    def test_shown_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        run(epochs=1)
        assert "6/6" in terminal.getvalue()

    def test_the_end_tells_the_last_validation(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, history = run(epochs=1, progress=True, validation=Windows(1))
        last = capsys.readouterr().err.rstrip().rpartition("\r")[2]
        assert last.endswith(f", validation {history['validation_loss'][-1]:.4g}]")
        assert "6/6" in last

    def test_a_training_that_stopped_says_why(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Enough(Callback):
            def on_step_end(self, run: Any) -> None:
                if run.step == 2:
                    run.stop("enough")

        run(Enough(), epochs=2, progress=True)
        last = capsys.readouterr().err.rstrip().rpartition("\r")[2]
        assert "2/2" in last
        assert last.endswith("; enough]")

    def test_accumulating_it_ends_at_the_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        run(epochs=1, progress=True, accumulate=4)
        assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize("event", ["on_fit_begin", "on_step_end", "on_epoch_end", "on_fit_end"])
def test_a_callback_that_raises(event: str, tmp_path: Path) -> None:
    """The error is its own, with a note where; all callbacks are closed, checkpoints stay."""
    closed = []

    def fail(*_: Any) -> None:
        raise RuntimeError("mine")

    def close(self: Any) -> None:
        closed.append(self)

    methods = {event: fail, "close": close}
    faulty = type("Faulty", (Callback,), methods)()
    run(epochs=2, checkpoints=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    epochs = 2 if event == "on_fit_end" else 4
    with pytest.raises(RuntimeError, match=r"^mine") as caught:
        run(faulty, epochs=epochs, checkpoints=tmp_path, resume=True)
    assert f"fit: in the callback Faulty.{event}" in caught.value.__notes__
    assert closed == [faulty]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
