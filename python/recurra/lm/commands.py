"""`recurra lm train`, `recurra lm sample`, `recurra lm eval`."""

import argparse
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recurra.lm.curve import draw
from recurra.lm.files import load
from recurra.lm.model import CELLS, CharLM, LMConfig, evaluate
from recurra.lm.session import Session
from recurra.lm.training import DEFAULT_EPOCHS, TrainConfig
from recurra.lm.writing import write
from recurra.random import manual_seed
from recurra.text import Vocabulary, read_text, split

__all__ = ["add_commands"]

SHAPE = [field.name for field in dataclasses.fields(LMConfig)]
"""The options of `train` that a model to start from already decides."""

MEANINGS = {
    "hidden": "units of each layer",
    "layers": "recurrent layers",
    "embedding": "numbers that stand for a character",
    "dropout": "part of the activations behind each layer that is dropped",
    "batch": "pieces of the text that are read side by side",
    "window": "characters of each between two updates",
    "lr": "Adam's highest learning rate",
    "clip": "largest 2-norm of the gradient",
    "validate_every": "updates between two validations",
}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three commands to the parser of `recurra lm`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, metavar="N", help="threads (default: all there are)")
    for name, describe, run in (
        ("train", _describe_train, _train),
        ("sample", _describe_sample, _sample),
        ("eval", _describe_eval, _eval),
    ):
        text = (run.__doc__ or "").partition("\n")[0]
        parser = commands.add_parser(name, help=text, description=text, parents=[common])
        describe(parser)
        parser.set_defaults(run=run)


def _describe_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="the text, UTF-8")
    parser.add_argument("--out", type=Path, required=True, help="the model file to write")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="start from this model")
    parser.add_argument("--validation", type=float, default=0.1, help="fraction held out (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same model (0)")
    cells = parser.add_argument_group("the model")
    default = LMConfig()
    cells.add_argument("--cell", choices=sorted(CELLS), help=f"kind of the layers ({default.cell})")
    _add_fields(cells, default, SHAPE[1:], given=False)
    training = parser.add_argument_group("the training, which ends with what comes first")
    training.add_argument("--epochs", type=int, metavar="N", help=f"readings ({DEFAULT_EPOCHS})")
    training.add_argument("--minutes", type=float, metavar="M", help="minutes (no limit)")
    names = ["batch", "window", "lr", "clip", "validate_every"]
    _add_fields(training, TrainConfig(), names, given=True)


def _add_fields(group: Any, defaults: Any, names: Iterable[str], *, given: bool) -> None:
    """An option for each of these fields; None stands for a default that is not `given`."""
    for name in names:
        value = getattr(defaults, name)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(value),
            default=value if given else None,
            metavar="N" if isinstance(value, int) else "X",
            help=f"{MEANINGS[name]} ({value})",
        )


def _describe_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model file")
    parser.add_argument("--prompt", default="", help="the beginning of the text (a new line)")
    parser.add_argument("--length", type=int, default=500, help="characters to write (500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="how daring (0.8)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same text (0)")


def _describe_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model file")
    parser.add_argument("file", help="a text, UTF-8")
    parser.add_argument(
        "--validation", type=float, help="only this fraction at the end, which training held out"
    )


def _train(options: argparse.Namespace) -> bool:
    """Train a model on a text. Ctrl-C ends it early and keeps the best model so far."""
    _refuse_unwritable(options.out)
    text = read_text(options.file)
    manual_seed(options.seed)
    model = _first_model(options, text)
    train, validation = split(model.vocabulary.encode(text), options.validation)
    fields = [field.name for field in dataclasses.fields(TrainConfig)]
    config = TrainConfig(**{name: getattr(options, name) for name in fields})
    print(
        f"{len(train)} characters to train on, {len(validation)} to validate on, "
        f"{len(model.vocabulary)} different; {model.num_parameters()} weights"
    )
    session = Session(model, config, options.out)
    session.run(train, validation)
    _report(session, options.out)
    return not session.interrupted


def _first_model(options: argparse.Namespace, text: str) -> CharLM:
    shape = {name: getattr(options, name) for name in SHAPE if getattr(options, name) is not None}
    if options.start is None:
        return CharLM(Vocabulary.of(text), LMConfig(**shape))
    model = load(options.start)
    if shape:
        names = ", ".join(f"--{name}" for name in shape)
        raise ValueError(f"train: {names}: expected none of these with --from, which decides them")
    return model


def _report(session: Session, path: Path) -> None:
    if session.interrupted:
        print("interrupted")
    if session.best is not None:
        print(f"best model: {path} ({session.best.bits:.3f} bits per character)")
    curve = path.with_suffix(".png")
    if draw(session.history, curve):
        print(f"loss curve: {curve}")
    else:
        print("loss curve: not drawn, matplotlib is not installed (pip install 'recurra[plot]')")


def _refuse_unwritable(path: Path) -> None:
    """Say at once, not after the training, that a model cannot be written there."""
    if path.is_dir():
        raise ValueError(f"train: --out: expected a file, got the folder {path}")
    if path.suffix == ".png":
        raise ValueError(f"train: --out: expected no .png, which the loss curve is, got {path}")
    if not os.access(path.resolve().parent, os.W_OK):
        raise ValueError(
            f"train: --out: expected a folder to write to, got {path.resolve().parent}"
        )


def _sample(options: argparse.Namespace) -> None:
    """Let a model write, character by character."""
    model = load(options.model)
    known = model.vocabulary.characters
    prompt = options.prompt or ("\n" if "\n" in known else known[0])
    text = write(model, prompt, options.length, options.temperature, options.seed)
    print(options.prompt, end="", flush=True)
    for character in text:
        print(character, end="", flush=True)
    print()


def _eval(options: argparse.Namespace) -> None:
    """Print how well a model predicts a text."""
    model = load(options.model)
    ids = model.vocabulary.encode(read_text(options.file))
    if options.validation is not None:
        _, ids = split(ids, options.validation)
    print(evaluate(model, ids))
