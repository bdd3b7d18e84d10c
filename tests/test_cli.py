"""The command `recurra`, as a user types it."""

import contextlib
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recurra import checkpoint, lm
from recurra.cli import main

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 60
SMALL = ["--hidden", "16", "--embedding", "8", "--batch", "4", "--window", "16", "--lr", "0.02"]
COMMAND = [sys.executable, "-c", "import sys; from recurra.cli import main; sys.exit(main())"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in a folder of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as error:
            assert isinstance(error.code, int)
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained model."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    path = folder / "model.safetensors"
    arguments = ["lm", "train", str(folder / "text.txt"), "--epochs", "3", "--out", str(path)]
    assert main(arguments + SMALL) == 0
    return path


# ---- what it does


def test_the_command_is_installed() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="recurra")
    assert script.load() is main


def test_the_package_runs_as_the_command() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "recurra", "fly"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr.startswith("usage: recurra ")


def test_the_help_says_what_every_option_means(run: Run) -> None:
    _, out, _ = run("lm", "train", "--help")
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)(.*(?:\n {4}.*)*)", out, re.MULTILINE)
    assert len(options) > 15
    for name, words in options:
        assert re.search(r"[a-z]{2}", re.sub(r"\(.*?\)|\{.*?\}", "", words)), name


def test_train_then_eval_then_sample(run: Run) -> None:
    code, out, err = run("lm", "train", "text.txt", "--epochs", "2", "--out", "m.st", *SMALL)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("2592 characters to train on, 288 to validate on, 16 different; ")
    assert re.search(r"train \d.\d{3}  validation \d.\d{3} bits/char  [\d,]+ tokens/s  saved", out)
    assert sorted(file.name for file in Path().iterdir()) == ["m.png", "m.st", "text.txt"]

    code, out, err = run("lm", "eval", "m.st", "text.txt", "--validation", "0.1")
    assert (code, err) == (0, "")
    bits = re.search(r"best model: m.st \((\S+) bits", "\n".join(lines))
    score = re.search(r"loss \S+ nats, (\S+) bits per character, perplexity \S+, over", out)
    assert bits is not None
    assert score is not None
    assert float(score[1]) == pytest.approx(float(bits[1]), abs=6e-4)

    code, out, err = run("lm", "sample", "m.st", "--prompt", "the cat", "--length", "30")
    assert (code, err) == (0, "")
    assert out.startswith("the cat")
    assert len(out) == len("the cat") + 30 + 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_shape_is_what_was_asked_for(run: Run, cell: str) -> None:
    shape = f"--cell {cell} --hidden 12 --layers 2 --embedding 5 --dropout 0.25".split()
    assert run("lm", "train", "text.txt", "--epochs", "1", "--out", "m", *shape)[0] == 0
    expected = lm.LMConfig(cell=cell, hidden=12, layers=2, embedding=5, dropout=0.25)
    assert lm.load("m").config == expected


def test_the_same_seed_gives_the_same_model(run: Run) -> None:
    for name, options in (
        ("a", ["--threads", "1"]),
        ("b", ["--threads", "2"]),
        ("c", ["--seed=1"]),
    ):
        arguments = ["lm", "train", "text.txt", "--epochs", "1", "--out", name, *SMALL, *options]
        assert run(*arguments)[0] == 0
    a, b, c = ({k: v.tobytes() for k, v in checkpoint.load(name)[0].items()} for name in "abc")
    assert a == b != c


def test_training_goes_on_from_a_model(run: Run, model: Path) -> None:
    before = lm.load(model)
    code, out, _ = run(
        "lm", "train", "text.txt", "--from", str(model), "--epochs", "1", "--lr", "0.001",
        "--validate-every", "1", "--out", "more",
    )  # fmt: skip
    assert code == 0
    first = re.search(r"train (\d.\d{3})", out)
    assert first is not None
    assert float(first[1]) < 2.5
    assert lm.load("more").config == before.config


def test_sampling_is_repeatable(run: Run, model: Path) -> None:
    texts = [run("lm", "sample", str(model), "--seed", seed)[1] for seed in "112"]
    assert texts[0] == texts[1] != texts[2]


def test_info(run: Run) -> None:
    code, out, err = run("info")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["recurra", "instruction", "threads:"]


@pytest.mark.parametrize("command", ["", "info", "lm", "lm train", "lm sample", "lm eval"])
def test_every_command_helps(run: Run, command: str) -> None:
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: recurra {command}".strip())


# ---- what it refuses


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("lm train nowhere.txt --out m", "No such file or directory: 'nowhere.txt'"),
        ("lm train . --out m", "directory"),
        ("lm train empty.txt --out m", "read_text: empty.txt: expected some text, got an empty"),
        ("lm train short.txt --out m", "the text is too short"),
        ("lm train binary --out m", "read_text: binary: expected UTF-8 text, got byte 0xff"),
        ("lm train text.txt --out .", "train: --out: expected a file, got the folder ."),
        ("lm train text.txt --out m.png", "train: --out: expected no .png"),
        ("lm train text.txt --out no/m", "train: --out: expected a folder to write to, got "),
        ("lm train text.txt --out m --hidden 0", "LMConfig: hidden: expected an int >= 1, got 0"),
        ("lm train text.txt --out m --hidden x", "argument --hidden: invalid int value: 'x'"),
        ("lm train text.txt --out m --dropout 1", "LMConfig: dropout: expected 0 <= dropout < 1"),
        ("lm train text.txt --out m --cell cnn", "argument --cell: invalid choice: 'cnn'"),
        ("lm train text.txt --out m --lr -1", "TrainConfig: lr: expected a number above 0"),
        ("lm train text.txt --out m --epochs 0", "TrainConfig: epochs: expected an int >= 1"),
        ("lm train text.txt --out m --minutes 0", "TrainConfig: minutes: expected a number above"),
        ("lm train text.txt --out m --validation 1", "split: validation: expected a fraction in"),
        (
            "lm train text.txt --out m --threads 0",
            "set_num_threads: n: expected an integer from 1 to 4096, got 0",
        ),
        ("lm train text.txt --out m --seed -1", "seed: expected an int >= 0, got -1"),
        ("lm train text.txt --out m --from damaged", "damaged: expected a whole safetensors file"),
        ("lm train text.txt --out m --from M --hidden 9", "train: --hidden: expected none of"),
        ("lm train other.txt --out m --from M", "characters, got 'Q' at position 0"),
        ("lm train text.txt", "the following arguments are required: --out"),
        ("lm sample nowhere", "No such file or directory: 'nowhere'"),
        ("lm sample damaged", "damaged: expected a whole safetensors file"),
        ("lm sample M --prompt Zebra", "characters, got 'Z' at position 0"),
        ("lm sample M --length -1", "write: length: expected an int >= 0, got -1"),
        ("lm sample M --temperature -1", "write: temperature: expected 0 <= temperature < inf"),
        ("lm eval M nowhere.txt", "No such file or directory: 'nowhere.txt'"),
        ("lm eval M other.txt", "characters, got 'Q' at position 0"),
        ("lm eval M letter.txt", "Streams: values: expected at least 2 steps, got 1"),
        ("lm", "the following arguments are required: COMMAND"),
        ("fly", "invalid choice: 'fly'"),
    ],
)
def test_a_friendly_refusal(run: Run, model: Path, command: str, message: str) -> None:
    files = {
        "empty.txt": b"", "short.txt": b"abc", "binary": b"\xff\xfe", "damaged": b"damaged",
        "other.txt": b"Quick brown fox", "letter.txt": b"t",
    }  # fmt: skip
    for name, data in files.items():
        Path(name).write_bytes(data)
    arguments = [str(model) if word == "M" else word for word in command.split()]
    code, out, err = run(*arguments)
    assert code == 2
    assert out.count("\n") <= 1
    assert message in err
    assert "Traceback" not in err
    assert not Path("m").exists()


# ---- processes, terminals, signals


def test_a_reader_that_leaves_is_no_error(model: Path) -> None:
    arguments = ["lm", "sample", str(model), "--length", "200000"]
    with subprocess.Popen(
        COMMAND + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_text_streams_as_it_is_made(model: Path) -> None:
    """The first characters are there long before the last one could be."""
    arguments = ["lm", "sample", str(model), "--length", str(10**12)]
    with subprocess.Popen(COMMAND + arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(20)) == 20
        process.kill()


posix = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal and POSIX signals")


def interrupt(folder: Path, validate_every: int) -> tuple[int, str, str]:
    """Train on a terminal for long; Ctrl-C when the bar shows a first step."""
    import termios  # POSIX's alone

    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    arguments = ["lm", "train", "text.txt", "--out", "m.st", "--minutes", "60", *SMALL]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--validate-every", str(validate_every)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"tokens/s" not in shown:
            shown += os.read(ours, 1000)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        out = process.stdout.read()
        code = process.wait()
    shown += rest(ours)
    os.close(ours)
    return code, out, shown.decode()


def rest(terminal: int) -> bytes:
    """What a terminal shows after its other side was closed."""
    shown = b""
    with contextlib.suppress(OSError):  # so ends a pseudo-terminal on Linux
        while part := os.read(terminal, 1000):
            shown += part
    return shown


@posix
@pytest.mark.parametrize("validate_every", [3, 10**9])
def test_ctrl_c_leaves_a_usable_model(tmp_path: Path, validate_every: int) -> None:
    code, out, shown = interrupt(tmp_path, validate_every)
    assert code == 130
    assert re.search(r"\d%\|.*loss \d.\d{3}, \d.\d{3} bits/char, [\d,]+ tokens/s", shown)
    assert "interrupted\nbest model: m.st" in out
    assert "Traceback" not in out + shown
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.png", "m.st", "text.txt"]
    assert len("".join(lm.write(lm.load(tmp_path / "m.st"), "the", 20))) == 20


@posix
def test_a_killed_training_leaves_a_whole_model(tmp_path: Path) -> None:
    """Killed at any moment, while it saves after every step."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    arguments = ["lm", "train", "text.txt", "--out", "m.st", "--minutes", "60", *SMALL]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--validate-every", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any("saved" in line for line in process.stdout)
        time.sleep(0.05)
        process.kill()
    assert lm.load(tmp_path / "m.st").config.hidden == 16
