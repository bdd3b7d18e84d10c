"""The character language model: what it learns, its score, its writing, its files."""

import itertools
import json
import math
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurra
from recurra import checkpoint, lm
from recurra.lm.curve import draw
from recurra.lm.session import Session
from recurra.text import Vocabulary, split

TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 30
VOCABULARY = Vocabulary.of(TEXT)
IDS = VOCABULARY.encode(TEXT)
TRAIN, VALIDATION = split(IDS, 0.1)


def tiny(cell: str = "lstm", seed: int = 0, **shape: Any) -> lm.CharLM:
    recurra.manual_seed(seed)
    return lm.CharLM(VOCABULARY, lm.LMConfig(cell=cell, **({"hidden": 24, "embedding": 8} | shape)))


def train(model: lm.CharLM, **config: Any) -> list[lm.Report]:
    defaults: dict[str, Any] = {"epochs": 4, "batch": 4, "window": 16, "lr": 0.02}
    return list(lm.fit(model, TRAIN, VALIDATION, lm.TrainConfig(**(defaults | config))))


def weights(model: lm.CharLM) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# ---- learning


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_learns(cell: str, layers: int) -> None:
    reports = train(tiny(cell, layers=layers), epochs=8)
    assert reports[0].loss == pytest.approx(math.log(len(VOCABULARY)), rel=0.1)
    assert reports[-1].validation is not None
    assert reports[-1].validation.bits < 1


def test_the_same_seed_gives_the_same_weights_on_any_number_of_threads() -> None:
    runs = []
    for threads in (1, 2, 3):
        model = tiny(seed=5, layers=2, dropout=0.2)
        with recurra.num_threads(threads):
            train(model, epochs=1)
        runs.append(weights(model))
    assert runs[0] == runs[1] == runs[2]
    other = tiny(seed=6, layers=2, dropout=0.2)
    train(other, epochs=1)
    assert weights(other) != runs[0]


def test_the_state_is_carried_and_starts_anew_with_each_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny()
    states: list[tuple[Any, Any]] = []
    original = model.forward

    def recorded(ids: Any, state: Any = None) -> Any:
        logits, after = original(ids, state)
        if model.training:
            states.append((state, after))
        return logits, after

    monkeypatch.setattr(model, "forward", recorded)
    train(model, epochs=2, window=100)
    half = len(states) // 2
    assert [before is None for before, _ in states] == ([True] + [False] * (half - 1)) * 2
    for (_, after), (before, _) in itertools.pairwise(states[:half]):
        for carried, part in zip(before, after, strict=True):
            np.testing.assert_array_equal(carried.data, part.data)
            assert part.requires_grad
            assert not carried.requires_grad


def test_reports_count_what_was_read() -> None:
    reports = train(tiny(), epochs=2, validate_every=7)
    assert [report.step for report in reports] == list(range(1, len(reports) + 1))
    assert [report.fraction for report in reports] == sorted(report.fraction for report in reports)
    assert reports[-1].fraction == 1
    rows = (len(TRAIN) - 1) // 4
    assert reports[-1].characters == 2 * 4 * rows
    due = [report.step % 7 == 0 for report in reports[:-1]] + [True]
    assert [report.validation is not None for report in reports] == due


def test_time_ends_a_training() -> None:
    reports = train(tiny(), epochs=None, minutes=0.2 / 60)
    assert reports[-1].fraction == 1
    assert reports[-1].seconds >= 0.2
    assert all(report.seconds < 0.2 for report in reports[:-1])


def test_a_stop_ends_a_training_with_a_validation() -> None:
    model, asked = tiny(), []
    config = lm.TrainConfig(batch=4, window=16)

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 3

    reports = list(lm.fit(model, TRAIN, VALIDATION, config, stop))
    assert len(reports) == 3
    assert reports[-1].fraction < 1
    assert reports[-1].validation is not None


def test_a_diverging_training_is_refused_before_it_reaches_the_weights() -> None:
    model = tiny()
    model.head.bias.data[:] = np.nan
    before = weights(model)
    with pytest.raises(
        FloatingPointError,
        match=r"fit: loss: expected a finite one, got .* step 1 .* arose in .* head.bias, nan at",
    ):
        train(model)
    assert weights(model) == before


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 0, "expected an int >= 1, got 0"),
        ("window", -1, "expected an int >= 1, got -1"),
        ("epochs", 0, "expected an int >= 1, got 0"),
        ("validate_every", 0, "expected an int >= 1, got 0"),
        ("minutes", 0.0, "expected a number above 0, got 0.0"),
        ("lr", float("nan"), "expected a number above 0, got nan"),
        ("clip", float("inf"), "expected a number above 0, got inf"),
    ],
)
def test_bad_training_options(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"TrainConfig: {field}: {message}"):
        lm.TrainConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cell", "elman", "expected 'lstm' or 'gru' or 'rnn', got 'elman'"),
        ("hidden", 0, "expected an int >= 1, got 0"),
        ("layers", 0, "expected an int >= 1, got 0"),
        ("embedding", -3, "expected an int >= 1, got -3"),
        ("dropout", 1.0, "expected 0 <= dropout < 1, got 1.0"),
    ],
)
def test_bad_shapes(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"LMConfig: {field}: {message}"):
        lm.LMConfig(**{field: value})


# ---- score


@pytest.mark.parametrize("window", [1, 7, 10_000])
def test_the_score_does_not_depend_on_the_window(window: int) -> None:
    model = tiny(layers=2)
    whole = lm.evaluate(model, VALIDATION, batch=3, window=1000)
    score = lm.evaluate(model, VALIDATION, batch=3, window=window)
    assert score.loss == pytest.approx(whole.loss, rel=1e-6)
    assert score.characters == whole.characters == 3 * ((len(VALIDATION) - 1) // 3)


def test_the_score_is_the_mean_of_the_logarithms() -> None:
    model = tiny()
    logits, _ = model(VALIDATION[np.newaxis, :-1])
    scaled = np.exp(logits.data[0].astype(np.float64))
    chances = scaled / scaled.sum(axis=1, keepdims=True)
    expected = -np.log(chances[np.arange(len(VALIDATION) - 1), VALIDATION[1:]]).mean()
    assert lm.evaluate(model, VALIDATION, batch=1).loss == pytest.approx(expected, rel=1e-5)


def test_scoring_drops_nothing_out_and_keeps_the_mode() -> None:
    model = tiny(dropout=0.5)
    assert lm.evaluate(model, VALIDATION) == lm.evaluate(model, VALIDATION)
    assert model.training
    assert model.rnn.training
    model.eval()
    lm.evaluate(model, VALIDATION)
    assert not model.training


# ---- writing


@pytest.fixture(scope="module")
def learned() -> lm.CharLM:
    model = tiny(layers=2, dropout=0.1)
    train(model, epochs=10)
    return model


def test_it_writes_what_it_learned(learned: lm.CharLM) -> None:
    text = "".join(lm.write(learned, "the cat", 200, temperature=0))
    assert "sat on the" in text


def test_the_same_seed_gives_the_same_text(learned: lm.CharLM) -> None:
    def text(seed: int, length: int = 300) -> str:
        return "".join(lm.write(learned, "the ", length, temperature=1.5, seed=seed))

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert text(1).startswith(text(1, length=100))


def test_characters_come_one_by_one(learned: lm.CharLM) -> None:
    endless = lm.write(learned, "t", 10**15)
    assert len("".join(itertools.islice(endless, 20))) == 20
    assert list(lm.write(learned, "t", 0)) == []


def test_writing_follows_the_probabilities() -> None:
    """Every draw from one known distribution: the frequencies must be its probabilities."""
    model = tiny()
    model.head.weight.data[...] = 0
    model.head.bias.data[...] = -50
    model.head.bias.data[:3] = np.log([0.5, 0.3, 0.2])
    text = "".join(lm.write(model, "t", 4000, seed=3))
    counts = [text.count(character) / 4000 for character in VOCABULARY.characters[:3]]
    assert sum(counts) == 1
    assert counts == pytest.approx([0.5, 0.3, 0.2], abs=4 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 0])
def test_a_low_temperature_takes_the_likeliest(learned: lm.CharLM, temperature: float) -> None:
    cold = "".join(lm.write(learned, "the ", 50, temperature=0))
    assert "".join(lm.write(learned, "the ", 50, temperature=temperature)) == cold


def test_writing_equals_reading(learned: lm.CharLM) -> None:
    """Steps through packed weights take the characters that the whole sequence takes."""
    text = "".join(lm.write(learned, "the dog", 40, temperature=0))
    ids = VOCABULARY.encode("the dog" + text)
    logits, _ = learned.eval()(ids[np.newaxis, :-1])
    learned.train()
    assert VOCABULARY.decode(logits.data[0].argmax(axis=1)[6:]) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "write: prompt: expected at least one character, got none"),
        ({"prompt": "the CAT"}, r"got 'C' at position 4"),
        ({"length": -1}, "write: length: expected an int >= 0, got -1"),
        ({"temperature": -0.1}, "write: temperature: expected 0 <= temperature < inf, got -0.1"),
        ({"temperature": float("nan")}, "write: temperature: .* got nan"),
        ({"seed": -1}, "seed: expected an int >= 0, got -1"),
    ],
)
def test_bad_writing_is_refused_at_the_call(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lm.write(tiny(), **({"prompt": "the", "length": 5} | arguments))


def test_a_broken_model_does_not_write() -> None:
    model = tiny()
    model.head.bias.data[0] = np.nan
    with pytest.raises(ValueError, match="write: model: expected finite logits"):
        next(lm.write(model, "t", 5))


# ---- files


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_saved_model_is_the_same_model(tmp_path: Path, cell: str) -> None:
    model = tiny(cell, layers=2, dropout=0.25)
    lm.save(tmp_path / "m", model)
    loaded = lm.load(tmp_path / "m")
    assert loaded.config == model.config
    assert loaded.vocabulary == model.vocabulary
    assert weights(loaded) == weights(model)
    assert lm.evaluate(loaded, VALIDATION) == lm.evaluate(model, VALIDATION)


def test_the_metadata_is_what_the_documentation_says(tmp_path: Path) -> None:
    lm.save(tmp_path / "m", tiny(), [{"step": 1, "validation": 2.5}])
    _, metadata = checkpoint.load(tmp_path / "m")
    assert (metadata["format"], metadata["format_version"]) == ("recurra.lm", "1")
    assert json.loads(metadata["vocabulary"]) == VOCABULARY.characters
    assert json.loads(metadata["config"])["hidden"] == 24
    assert json.loads(metadata["history"]) == [{"step": 1, "validation": 2.5}]


def tampered(folder: Path, arrays: dict[str, Any], metadata: dict[str, str]) -> Path:
    """A model file with these arrays and this metadata instead of its own; None removes one."""
    lm.save(folder / "m", tiny())
    old_arrays, old_metadata = checkpoint.load(folder / "m")
    new = {name: array for name, array in (old_arrays | arrays).items() if array is not None}
    checkpoint.save(folder / "m", new, old_metadata | metadata)
    return folder / "m"


def config(**fields: Any) -> dict[str, str]:
    shape = {"cell": "lstm", "hidden": 24, "layers": 1, "embedding": 8, "dropout": 0.0}
    return {"config": json.dumps(shape | fields)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "other"}, "format: expected recurra.lm 1, got other 1"),
        ({"format_version": "2"}, "format: expected recurra.lm 1, got recurra.lm 2"),
        ({"config": "{"}, "config: expected JSON, got '{'"),
        ({"config": "[" * 100_000}, "config: expected JSON"),
        ({"config": "[]"}, r"config: expected a dict, got \[\]"),
        ({"config": "{}"}, r"config: expected \['cell', .*\], got \[\]"),
        (config(peephole=True), r"config: expected .*, got .*'peephole'"),
        (config(cell="elman"), "LMConfig: cell: expected"),
        (config(hidden=2.5), "LMConfig: hidden: expected an int, got float"),
        (config(hidden=10**12), "rnn.weight_ih_l0: expected shape"),
        (config(layers=10**12), "arrays: expected 4000000000003 for 1000000000000 layers, got 7"),
        (config(cell="gru"), r"rnn.weight_ih_l0: expected shape \(72, 8\), got \(96, 8\)"),
        (config(dropout="much"), "LMConfig: dropout: expected a number, got 'much'"),
        ({"vocabulary": "5"}, "vocabulary: expected a str, got 5"),
        ({"vocabulary": '"ba"'}, "Vocabulary: characters: expected ascending"),
        ({"vocabulary": '"ab"'}, r"embedding.weight: expected shape \(2, 8\), got"),
    ],
)
def test_wrong_metadata_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    path = tampered(tmp_path, {}, metadata)
    with pytest.raises(ValueError, match=message) as caught:
        lm.load(path)
    assert str(caught.value).startswith(f"lm.load: {path}: ")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"head.bias": None}, "arrays: expected 7 for 1 layers, got 6"),
        ({"extra": np.zeros(1)}, "arrays: expected 7 for 1 layers, got 8"),
        ({"head.bias": None, "extra": np.zeros(1)}, r"head.bias: expected shape .* got None"),
        ({"rnn.bias_hh_l0": np.zeros(95, np.float32)}, r"expected shape \(96,\), got \(95,\)"),
        ({"rnn.bias_hh_l0": np.zeros(96)}, r"rnn.bias_hh_l0: expected float32, got float64"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"lm.load: .*{message}"):
        lm.load(tampered(tmp_path, arrays, {}))


def test_any_other_safetensors_file_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", {"w": np.ones(3)})
    with pytest.raises(ValueError, match=r"format: expected recurra\.lm 1, got None None"):
        lm.load(tmp_path / "m")


# ---- session


def test_the_best_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations that get worse after the second: the file stays the second model."""
    losses = iter([2.0, 1.0, 1.5, 1.2])
    kept: list[dict[str, bytes]] = []
    model = tiny()

    def score(*_: object) -> lm.Score:
        kept.append(weights(model))
        return lm.Score(next(losses), 10)

    monkeypatch.setattr("recurra.lm.training.evaluate", score)
    session = Session(
        model, lm.TrainConfig(epochs=1, batch=4, window=100, validate_every=1), tmp_path / "m"
    )
    session.run(TRAIN[:1300], VALIDATION)
    assert session.best == lm.Score(1.0, 10)
    assert not session.interrupted
    assert [point["validation"] * math.log(2) for point in session.history] == pytest.approx(
        [2.0, 1.0, 1.5, 1.2]
    )
    assert weights(lm.load(tmp_path / "m")) == kept[1]


def test_a_session_in_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    session = Session(tiny(), lm.TrainConfig(epochs=1), tmp_path / "m")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(session.run, TRAIN, VALIDATION).result()
    assert session.best == lm.evaluate(lm.load(tmp_path / "m"), VALIDATION)


def test_a_second_interrupt_ends_a_session_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first asks for a last validation, the second comes in the middle of it."""
    validations: list[int] = []

    def interrupted(*_: object) -> lm.Score:
        validations.append(len(validations))
        signal.raise_signal(signal.SIGINT)
        return lm.Score(2.0, 10)

    monkeypatch.setattr("recurra.lm.training.evaluate", interrupted)
    before = signal.getsignal(signal.SIGINT)
    session = Session(tiny(), lm.TrainConfig(validate_every=1), tmp_path / "m")
    with pytest.raises(KeyboardInterrupt):
        session.run(TRAIN, VALIDATION)
    assert session.interrupted
    assert len(validations) == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]
    lm.load(tmp_path / "m")


def test_no_curve_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not draw([{"characters": 1, "train": 1.0, "validation": 1.0}], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_curve_is_a_png(tmp_path: Path) -> None:
    points = [{"characters": i, "train": 3.0 / i, "validation": 4.0 / i} for i in (1, 2, 3)]
    assert draw(points, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
