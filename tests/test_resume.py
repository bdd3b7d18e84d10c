"""Stopping and going on: to the bit, in a new process, whatever happened to the old one."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import checkpoint, metrics, schedules
from recurra.data import Arrays, Chunks, Sequences
from recurra.train import Callback, Checkpoints, EarlyStopping, files, fit, load_model
from training import CELLS, OPTIMIZERS, Windows, bits, rows, tagger, timeless

TESTS = Path(__file__).parent
EPOCHS = 3
EMPTY: Mapping[str, str] = MappingProxyType({})
posix = pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")


class StopAfter(Callback):
    """As Ctrl-C would, after a number of steps."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def on_step_end(self, run: Any) -> None:
        if run.step == self.steps:
            run.stop("enough")


def trained(
    cell: str, optimizer: str, stop: int | None = None, folder: Any = None, seed: int = 0
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """A training with everything that has a state; from `folder` it goes on."""
    model, opt = tagger(cell, optimizer, seed)
    history = fit(
        model,
        Windows(),
        recurra.cross_entropy,
        opt,
        epochs=EPOCHS,
        validation=Windows(2),
        metrics=[metrics.Accuracy(), metrics.AUC()],
        schedule=lambda step: 1 / (1 + step),
        clip_norm=0.5,
        accumulate=2,
        callbacks=[StopAfter(stop), EarlyStopping(patience=50, restore_best=False)],
        checkpoints=folder,
        resume=folder is not None,
    )
    return bits(model), timeless(history)


def in_new_process(
    code: str, *arguments: object, check: bool = True, environment: Mapping[str, str] = EMPTY
) -> Any:
    """Run code that has the names of this module."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"from test_resume import *\n{code}"]
        + [str(argument) for argument in arguments],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=check,
    )


# Another seed: nothing may come from the weights or random numbers at the start.
GO_ON = """
for cell in CELLS:
    for stop in (3, 4):
        model, rows = trained(cell, sys.argv[1], None, f"{sys.argv[2]}/{cell}{stop}", seed=99)
        digest = {name: data.hex() for name, data in model.items()}
        print(json.dumps([digest, rows]))
"""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_goes_on_to_the_bit_in_a_new_process(optimizer: str, tmp_path: Path) -> None:
    """9 steps = 3 steps (an epoch) or 4 (in the middle), a new process, and the rest."""
    wanted = []
    for cell in CELLS:
        whole = trained(cell, optimizer)
        for stop in (3, 4):
            trained(cell, optimizer, stop, tmp_path / f"{cell}{stop}")
            wanted.append(whole)
    lines = in_new_process(GO_ON, optimizer, tmp_path).stdout.splitlines()
    assert len(lines) == len(wanted) == 6
    for line, (model, history) in zip(lines, wanted, strict=True):
        digest, rows = json.loads(line)
        assert digest == {name: data.hex() for name, data in model.items()}
        assert rows == history


@pytest.mark.parametrize("stop", range(1, 9))
def test_after_every_step(stop: int, tmp_path: Path) -> None:
    assert trained("GRU", "Adam", stop, tmp_path)[0] != trained("GRU", "Adam")[0]
    assert trained("GRU", "Adam", None, tmp_path, seed=7) == trained("GRU", "Adam")


def test_a_finished_training_gives_its_history(tmp_path: Path) -> None:
    whole = trained("RNN", "SGD", None, tmp_path)
    assert trained("RNN", "SGD", None, tmp_path, seed=5) == whole


class CRFTagger(recurra.Module):
    """Its loss has parameters of its own, which are the model's."""

    def __init__(self) -> None:
        self.rnn, self.out, self.crf = recurra.GRU(2, 5), recurra.Linear(5, 3), recurra.CRF(3)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        return self.out(self.rnn(x, lengths=lengths)[0])


def test_a_crf_in_the_model(tmp_path: Path) -> None:
    def train(epochs: int, folder: Path | None) -> Any:
        recurra.manual_seed(0)
        model = CRFTagger()
        start = bits(model.crf)
        history = fit(
            model,
            rows(24, 5),
            model.crf.loss,
            recurra.Adam(model.parameters(), lr=0.05),
            epochs=epochs,
            batch_size=8,
            validation=rows(8, 5, seed=1),
            callbacks=[EarlyStopping(50)],
            checkpoints=folder,
            resume=folder is not None,
        )
        assert all(bits(model.crf)[name] != array for name, array in start.items())
        return bits(model), timeless(history)

    train(2, tmp_path)
    assert train(5, tmp_path) == train(5, None)


def test_every_instruction_set_gives_the_same_bits() -> None:
    code = "for c in CELLS: print({n: d.hex() for n, d in trained(c, 'Adam')[0].items()})"
    ends = [
        in_new_process(code, environment={"RECURRA_ISA": isa}).stdout
        for isa in recurra._core.available_isas()
    ]
    assert len(set(ends)) == 1


def test_any_checkpoint_can_be_gone_on_from(tmp_path: Path) -> None:
    whole = trained("LSTM", "Adam")
    model, optimizer = tagger("LSTM")
    kwargs: dict[str, Any] = {"epochs": EPOCHS, "validation": Windows(2), "accumulate": 2}
    kwargs |= {"metrics": [metrics.Accuracy(), metrics.AUC()], "clip_norm": 0.5}
    kwargs |= {"schedule": lambda step: 1 / (1 + step)}
    kept = Checkpoints(tmp_path, 2, numbered=True, keep=2)
    fit(model, Windows(), recurra.cross_entropy, optimizer, checkpoints=kept, **kwargs)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        *["best.safetensors", "last.safetensors"],
        *["step-00000006.safetensors", "step-00000008.safetensors"],
    ]
    assert bits(model) == whole[0]
    for name in names:
        model, optimizer = tagger("LSTM", seed=8)
        again = Checkpoints(tmp_path / "again", 2, numbered=True)
        fit(
            model,
            Windows(),
            recurra.cross_entropy,
            optimizer,
            checkpoints=again,
            resume=tmp_path / name,
            **kwargs,
        )
        assert bits(model) == whole[0]


def test_best_is_the_best(tmp_path: Path) -> None:
    model, optimizer = tagger(optimizer="SGD")
    optimizer.lr = 30.0
    seen = {}

    class See(Callback):
        def on_epoch_end(self, run: Any, row: dict[str, Any]) -> None:
            seen[row["validation_loss"]] = bits(model)

    fit(
        model,
        Windows(),
        recurra.cross_entropy,
        optimizer,
        epochs=6,
        validation=Windows(2),
        callbacks=[See()],
        checkpoints=tmp_path,
    )
    model.load_state_dict(load_model(tmp_path / "best.safetensors"))
    assert len(seen) == 6
    assert bits(model) == seen[min(seen)]


class TestInterrupt:
    class PressCtrlC(Callback):
        def on_step_end(self, run: Any) -> None:
            if run.step == 4:
                signal.raise_signal(signal.SIGINT)

    @pytest.mark.parametrize("saves", [True, False])
    def test_the_history_comes_back(self, tmp_path: Path, saves: bool) -> None:
        model, optimizer = tagger()
        before = signal.getsignal(signal.SIGINT)
        history = fit(
            model,
            Windows(),
            recurra.cross_entropy,
            optimizer,
            epochs=5,
            callbacks=[self.PressCtrlC()],
            checkpoints=tmp_path if saves else None,
        )
        assert history.interrupted
        assert (history.stopped, history.rows) == ("interrupted", [])
        assert signal.getsignal(signal.SIGINT) is before
        if saves:
            state = files.load(tmp_path / "last.safetensors")
            assert (state["epoch"], state["batch"], state["step"]) == (0, 4, 4)

    def test_a_second_ends_at_once(self) -> None:
        class Twice(self.PressCtrlC):  # type: ignore[name-defined]
            def on_step_end(self, run: Any) -> None:
                super().on_step_end(run)
                super().on_step_end(run)

        model, optimizer = tagger()
        with pytest.raises(KeyboardInterrupt):
            fit(model, Windows(), recurra.cross_entropy, optimizer, callbacks=[Twice()])

    def test_resumed_it_is_as_if_never_interrupted(self, tmp_path: Path) -> None:
        ends = []
        for parts in ([[]], [[self.PressCtrlC()], []]):
            folder = tmp_path / str(len(parts))
            for seed, callbacks in enumerate(parts):
                model, optimizer = tagger(seed=seed)
                history = fit(
                    model,
                    Windows(),
                    recurra.cross_entropy,
                    optimizer,
                    epochs=2,
                    callbacks=callbacks,
                    checkpoints=folder,
                    resume=True,
                )
            ends.append((bits(model), timeless(history)))
        assert ends[0] == ends[1]
        assert not history.interrupted


# The second training dies in its first save: before the bytes are on the disk, before the file has
# its name, or after.
DIE = """
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def named_and_dead(path, other):
    os.rename(path, other)
    die()

stage, folder = sys.argv[1:]
owner, name = {"fsync": (os, "fsync")}.get(stage, (Path, "replace"))
model, optimizer = tagger()
for epochs in (1, 2):
    fit(model, Windows(), recurra.cross_entropy, optimizer, epochs=epochs,
        checkpoints=Checkpoints(folder, every=1), resume=True)
    setattr(owner, name, named_and_dead if stage == "after" else die)
"""

KEEP_SAVING = """
model = recurra.Sequential(recurra.Linear(2, 50_000), recurra.Linear(50_000, 3))
data = np.zeros((6, 2), np.float32), np.zeros((6, 3), np.float32)
fit(model, data, recurra.mse, recurra.SGD(model.parameters(), 1e-9), batch_size=1, epochs=10**6,
    checkpoints=Checkpoints(sys.argv[1], every=1))
"""


@posix
@pytest.mark.parametrize(("stage", "step"), [("fsync", 6), ("before", 6), ("after", 7)])
def test_killed_at_a_stage_of_saving(stage: str, step: int, tmp_path: Path) -> None:
    result = in_new_process(DIE, stage, tmp_path, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert files.load(tmp_path / "last.safetensors")["step"] == step
    model, optimizer = tagger()
    kwargs: dict[str, Any] = {"epochs": 3, "checkpoints": tmp_path, "resume": True}
    history = fit(model, Windows(), recurra.cross_entropy, optimizer, **kwargs)
    assert history["step"] == [6, 12, 18]


@posix
def test_killed_while_saving_a_whole_file_is_there(tmp_path: Path) -> None:
    """It does little else than save; it is killed at moments that are anywhere in that."""
    last = tmp_path / "last.safetensors"
    path = os.pathsep.join([str(TESTS), *sys.path])
    for delay in np.linspace(0.02, 0.04, 5):
        last.unlink(missing_ok=True)
        with subprocess.Popen(
            [sys.executable, "-c", f"from test_resume import *\n{KEEP_SAVING}", str(tmp_path)],
            env=os.environ | {"PYTHONPATH": path},
        ) as process:
            while not last.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(delay)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert files.load(last)["step"] >= 1


class TestDamage:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Path:
        """The smallest training there is, with one weight."""
        recurra.manual_seed(0)
        model = recurra.Linear(1, 1, bias=False)
        x = np.ones((1, 1), np.float32)
        fit(model, (x, x), recurra.mse, recurra.SGD(model.parameters(), 0.1), checkpoints=tmp_path)
        return tmp_path / "last.safetensors"

    def test_cut_off_anywhere(self, small: Path) -> None:
        data = small.read_bytes()
        for size in range(len(data)):
            small.write_bytes(data[:size])
            with pytest.raises(ValueError, match=r"last.safetensors: expected a whole"):
                files.load(small)

    def test_changed_anywhere(self, small: Path) -> None:
        """Every byte: an error that names the file, or the same content (white space)."""
        data, wanted = small.read_bytes(), files.load(small)
        refused = 0
        for at in range(len(data)):
            damaged = bytearray(data)
            damaged[at] ^= 1
            small.write_bytes(damaged)
            try:
                assert str(files.load(small)) == str(wanted)
            except ValueError as error:
                refused += 1
                assert "last.safetensors" in str(error)
        assert refused > len(data) - 16

    def test_a_damaged_file_is_not_gone_on_from(self, small: Path) -> None:
        damaged = bytearray(small.read_bytes())
        damaged[-1] ^= 1
        small.write_bytes(damaged)
        model = recurra.Linear(1, 1, bias=False)
        before, x = bits(model), np.ones((1, 1), np.float32)
        with pytest.raises(ValueError, match="got a damaged file: its digest does not agree"):
            fit(
                model,
                (x, x),
                recurra.mse,
                recurra.SGD(model.parameters(), 0.1),
                checkpoints=small.parent,
                resume=True,
            )
        assert bits(model) == before
        assert small.read_bytes() == damaged

    def test_files_of_other_kinds(self, tmp_path: Path) -> None:
        checkpoint.save(tmp_path / "other", {"w": np.ones(2)})
        with pytest.raises(ValueError, match=r"other: expected format recurra.train 1, got None"):
            files.load(tmp_path / "other")

    def test_a_state_that_is_none(self, tmp_path: Path) -> None:
        """Its digest is right: somebody made it so."""
        for text in ('{"dict": {"a": {"array": "b"}}}', "[" * 10**5, '{"what": 1}'):
            metadata = {"format": files.FORMAT, "format_version": files.VERSION, "state": text}
            metadata |= {"sha256": files._digest({}, metadata)}
            checkpoint.save(tmp_path / "made", {}, metadata)
            with pytest.raises(ValueError, match="made: expected the state of a training"):
                files.load(tmp_path / "made")

    def test_a_full_disk_leaves_all_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, optimizer = tagger()
        fit(model, Windows(), recurra.cross_entropy, optimizer, checkpoints=tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"checkpoint.save: No space left.*best"):
            fit(model, Windows(), recurra.cross_entropy, optimizer, epochs=2,
                checkpoints=tmp_path, resume=True)  # fmt: skip
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def state_of(model: Any, optimizer: Any) -> Any:
    bases = [group.initial_lr for group in optimizer.param_groups]
    return bits(model), str(optimizer.state_dict()), bases, recurra.random.get_state()


def chunked(*args: Any, **kwargs: Any) -> Chunks:
    return Chunks(Sequences(*args, **kwargs), 2)


class TestAnotherTraining:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"data": Windows(5)}, "expected batches in an epoch as in the checkpoint: 6, got 5"),
            ({"accumulate": 2}, "expected accumulate as in the checkpoint: 1, got 2"),
            ({"metrics": [metrics.MAE()]}, "expected metrics as in the checkpoint: [], got"),
            ({"callbacks": [EarlyStopping()]}, "expected callbacks with a state as in the"),
            ({"schedule": lambda _: 0.5}, "expected schedule as in the checkpoint: none, got Lamb"),
            ({"optimizer": "SGD"}, "expected optimizer as in the checkpoint: Adam, got SGD"),
            (
                {"data": Windows(B=4)},
                "fit: resume: expected first batch as in the checkpoint: inputs float32 (3, 4, 2), "
                "targets int64 (3, 4), got inputs float32 (4, 4, 2), targets int64 (4, 4)",
            ),
            ({"cell": "LSTM"}, "load_state_dict: state: rnn.weight_ih_l0: expected shape"),
        ],
    )
    def test_it_is_refused_and_nothing_changed(
        self, change: dict[str, Any], text: str, tmp_path: Path
    ) -> None:
        model, optimizer = tagger()
        fit(model, Windows(), recurra.cross_entropy, optimizer, checkpoints=tmp_path)
        model, optimizer = tagger(change.pop("cell", "GRU"), change.pop("optimizer", "Adam"), 3)
        data = change.pop("data", Windows())
        before = state_of(model, optimizer)
        with pytest.raises(ValueError) as caught:
            fit(model, data, recurra.cross_entropy, optimizer, checkpoints=tmp_path, resume=True,
                **change)  # fmt: skip
        assert text in str(caught.value)
        assert "last.safetensors belongs to another training" in caught.value.__notes__[0]
        assert state_of(model, optimizer) == before

    @pytest.mark.parametrize(
        ("part", "had", "change"),
        [
            (Arrays, 5, {"seed": 6}),
            (Arrays, 5, {"shuffle": False}),
            (Sequences, 5, {"seed": 6}),
            (chunked, 5, {"seed": 6}),
        ],
    )
    def test_another_order(
        self, part: Any, had: int, change: dict[str, Any], tmp_path: Path
    ) -> None:
        x, y = rows(6, 4)
        kwargs = {"shuffle": True, "seed": had}
        for settings in (kwargs, kwargs | change):
            data = part(list(x), list(y), 2, **settings)
            got = settings["seed"] if settings["shuffle"] else None
            model, optimizer = tagger()
            before = state_of(model, optimizer)
            if settings is kwargs:
                fit(model, data, recurra.cross_entropy, optimizer, checkpoints=tmp_path)
                continue
            with pytest.raises(ValueError) as caught:
                fit(model, data, recurra.cross_entropy, optimizer, checkpoints=tmp_path,
                    resume=True, epochs=2)  # fmt: skip
            assert str(caught.value) == (
                f"fit: resume: expected data's seed as in the checkpoint: {had}, got {got}"
            )
            assert state_of(model, optimizer) == before

    def test_a_pairs_seed(self, tmp_path: Path) -> None:
        model, optimizer = tagger()
        kwargs: dict[str, Any] = {"checkpoints": tmp_path, "batch_size": 2, "resume": True}
        fit(model, rows(6, 4), recurra.cross_entropy, optimizer, seed=1, **kwargs)
        text = "^fit: resume: expected data's seed as in the checkpoint: 1, got 2"
        with pytest.raises(ValueError, match=text):
            fit(model, rows(6, 4), recurra.cross_entropy, optimizer, seed=2, **kwargs)

    @pytest.mark.parametrize("whole", [True, False])
    def test_another_schedule_of_the_same_settings(self, whole: bool, tmp_path: Path) -> None:
        """Also as a part of one."""

        def made(optimizer: Any, kind: Any) -> Any:
            schedule = kind(optimizer, lambda _: 1.0)
            return schedule if whole else schedules.ChainedScheduler(optimizer, [schedule])

        class Other(schedules.LambdaLR):
            pass

        names = ("LambdaLR", "Other") if whole else ("ChainedScheduler(LambdaLR)",) * 2
        text = f"expected schedule as in the checkpoint: {names[0]}, got "
        text += names[1].replace("LambdaLR", "Other")
        model, optimizer = tagger()
        schedule = made(optimizer, schedules.LambdaLR)
        kwargs: dict[str, Any] = {"checkpoints": tmp_path, "resume": True}
        fit(model, Windows(), recurra.cross_entropy, optimizer, schedule=schedule, **kwargs)
        schedule = made(optimizer, Other)
        with pytest.raises(ValueError, match=re.escape(text)):
            fit(model, Windows(), recurra.cross_entropy, optimizer, schedule=schedule, **kwargs)

    def test_a_checkpoint_without_the_record(self, tmp_path: Path) -> None:
        """As earlier versions wrote it, with their names for a function's state."""
        whole = trained("GRU", "Adam")
        trained("GRU", "Adam", 4, tmp_path)
        state = files.load(tmp_path / "last.safetensors")
        del state["origin"]
        bases = state["schedule"]["base_lrs"].tolist()
        state["schedule"] = {"bases": bases, "count": int(state["schedule"]["count"])}
        files.save(tmp_path / "last.safetensors", state)
        assert trained("GRU", "Adam", None, tmp_path, seed=9) == whole

    def test_looking_at_the_first_batch_draws_nothing(self, tmp_path: Path) -> None:
        """Data that draws from the default generator has the numbers that it has without."""

        class Noisy(Windows):
            def epoch(self, number: int) -> Any:
                for batch in super().epoch(number):
                    noise = recurra.random.normal(batch.inputs.shape, std=0.1)
                    yield batch._replace(inputs=batch.inputs + noise)

        ends = []
        for folder in (None, tmp_path):
            model, optimizer = tagger()
            fit(model, Noisy(), recurra.cross_entropy, optimizer, epochs=2, checkpoints=folder)
            ends.append(bits(model))
        assert ends[0] == ends[1]

    def test_a_missing_file(self, tmp_path: Path) -> None:
        model, optimizer = tagger()
        with pytest.raises(FileNotFoundError, match="nowhere"):
            fit(model, Windows(), recurra.cross_entropy, optimizer, resume=tmp_path / "nowhere")
        with pytest.raises(ValueError, match="fit: resume: expected checkpoints with True"):
            fit(model, Windows(), recurra.cross_entropy, optimizer, resume=True)


def test_a_tree_comes_back() -> None:
    from recurra.train.tree import pack, unpack

    tree = {
        "nan": float("nan"),
        "tenth": 0.1,
        "nested": [(), [None, True, "dict"], {"array": np.arange(3)}],
        "tensor": recurra.Tensor([1.0]),
        "count": np.int64(2**62 + 1),
    }
    found = unpack(*pack(tree))
    assert repr(found) == repr(tree | {"count": 2**62 + 1})
    with pytest.raises(TypeError, match=r"checkpoint: a: expected numbers, .* got set"):
        pack({"a": {1}})
    with pytest.raises(TypeError, match="checkpoint: a: expected keys that are texts, got 1"):
        pack({"a": {1: 2}})


def test_rows_are_learnable() -> None:
    """That the model of these tests learns at all."""
    x, y = rows(16, 12)
    model, optimizer = tagger()
    history = fit(model, (x, y), recurra.cross_entropy, optimizer, epochs=60)
    assert history["loss"][-1] < 0.75 * history["loss"][0]
