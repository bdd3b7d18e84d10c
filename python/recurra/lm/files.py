"""Model files: safetensors, with configuration and vocabulary as JSON in the metadata."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from recurra import _core, checkpoint
from recurra.lm.model import CharLM, LMConfig
from recurra.text import Vocabulary

__all__ = ["load", "save"]

FORMAT = "recurra.lm"
VERSION = "1"

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def save(
    path: str | os.PathLike[str], model: CharLM, history: Sequence[Mapping[str, float]] = ()
) -> None:
    """Write a model to a file, all or nothing; `history` is how its training went.

    Beside its arrays the file has this metadata: `format` and `format_version`, `config` (the
    fields of `LMConfig`), `vocabulary` (its characters) and `history`, the last three as JSON.

    >>> import tempfile
    >>> from recurra import lm
    >>> from recurra.text import Vocabulary
    >>> model = lm.CharLM(Vocabulary.of("abc"), lm.LMConfig(hidden=8, embedding=4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lm.save(f"{folder}/model.safetensors", model)
    ...     lm.load(f"{folder}/model.safetensors").config.hidden
    8
    """
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "recurra_version": _core.version(),
        "config": json.dumps(dataclasses.asdict(model.config)),
        "vocabulary": json.dumps(model.vocabulary.characters),
        "history": json.dumps([dict(point) for point in history]),
    }
    checkpoint.save(path, model.state_dict(), metadata)


def load(path: str | os.PathLike[str]) -> CharLM:
    """Read a model that `save` wrote.

    A file that is damaged, of another format or version, or whose arrays do not fit its
    configuration is a `ValueError` that says so; no memory is taken for what is not in the file.
    """
    tensors, metadata = checkpoint.load(path)
    try:
        config, vocabulary = _read(metadata)
        _check_arrays({name: array.shape for name, array in tensors.items()}, config, vocabulary)
        model = CharLM(vocabulary, config)
        model.load_state_dict(tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"lm.load: {path}: {error}") from error
    return model


def _read(metadata: Mapping[str, str]) -> tuple[LMConfig, Vocabulary]:
    found = metadata.get("format"), metadata.get("format_version")
    if found != (FORMAT, VERSION):
        raise ValueError(f"format: expected {FORMAT} {VERSION}, got {found[0]} {found[1]}")
    fields = _json(metadata, "config", dict)
    expected = sorted(field.name for field in dataclasses.fields(LMConfig))
    if sorted(fields) != expected:
        raise ValueError(f"config: expected {expected}, got {sorted(fields)}")
    return LMConfig(**fields), Vocabulary(_json(metadata, "vocabulary", str))


def _json(metadata: Mapping[str, str], name: str, kind: type) -> Any:
    try:
        value = json.loads(metadata.get(name, ""))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{name}: expected JSON, got {metadata.get(name)!r}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected a {kind.__name__}, got {value!r}")
    return value


def _check_arrays(
    found: Mapping[str, tuple[int, ...]], config: LMConfig, vocabulary: Vocabulary
) -> None:
    """Refuse arrays that do not fit, before a model of the size that was read is made."""
    # The count comes first: a layer number that was made up must not become a loop.
    if len(found) != 3 + 4 * config.layers:
        raise ValueError(
            f"arrays: expected {3 + 4 * config.layers} for {config.layers} layers, got {len(found)}"
        )
    for name, shape in _shapes(config, len(vocabulary)).items():
        if found.get(name) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {found.get(name)}")


def _shapes(config: LMConfig, characters: int) -> dict[str, tuple[int, ...]]:
    hidden, gates = config.hidden, GATES[config.cell] * config.hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (characters, config.embedding)}
    for k in range(config.layers):
        shapes[f"rnn.weight_ih_l{k}"] = (gates, hidden if k else config.embedding)
        shapes[f"rnn.weight_hh_l{k}"] = (gates, hidden)
        shapes[f"rnn.bias_ih_l{k}"] = shapes[f"rnn.bias_hh_l{k}"] = (gates,)
    return shapes | {"head.weight": (characters, hidden), "head.bias": (characters,)}
