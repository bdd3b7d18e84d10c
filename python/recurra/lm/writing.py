"""Writing: a model continues a text, one character at a time."""

import itertools
from collections.abc import Iterator

import numpy as np

from recurra import _core, checks
from recurra.lm.model import CharLM
from recurra.packed import PackedLayer
from recurra.random import Generator
from recurra.results import Array
from recurra.text import Ids

__all__ = ["write"]

ARRAYS = ("embedding.weight", "head.weight", "head.bias")
"""What writing needs beside the recurrent layers."""


def write(
    model: CharLM, prompt: str, length: int, temperature: float = 1.0, seed: int = 0
) -> Iterator[str]:
    """Continue `prompt` by `length` characters, each given out as soon as it is made.

    `temperature` 1 draws what the model learned, below 1 it dares less, and 0 always takes the
    likeliest. The same seed gives the same text. Bad arguments are refused at the call: an empty
    prompt and one with a character that the model does not know, too.

    >>> from recurra.lm import CharLM, LMConfig, write
    >>> from recurra.text import Vocabulary
    >>> model = CharLM(Vocabulary.of("abc"), LMConfig(hidden=8, embedding=4))
    >>> "".join(write(model, "a", 20, seed=7)) == "".join(write(model, "a", 20, seed=7))
    True
    >>> write(model, "ad", 20)
    Traceback (most recent call last):
    ValueError: Vocabulary.encode: text: expected the 3 known characters, got 'd' at position 1
    """
    if not prompt:
        raise ValueError("write: prompt: expected at least one character, got none")
    checks.size("write", "length", length, 0)
    checks.within("write", "temperature", temperature, 0)
    chances = _chances(Generator(seed))
    return _written(model, model.vocabulary.encode(prompt), length, temperature, chances)


def _written(
    model: CharLM, prompt: Ids, length: int, temperature: float, chances: Iterator[float]
) -> Iterator[str]:
    """Step by step through packed weights; each character made is the next one read."""
    packed, arrays, state = _packed(model), model.state_dict(), None
    embedding, weight, bias = (arrays[name] for name in ARRAYS)
    for number in prompt:
        y, state = packed.step(embedding[number][np.newaxis], state)
    for chance in itertools.islice(chances, length):
        (logits,) = _core.linear_forward(y, weight, bias)
        number = _draw(logits, temperature, chance)
        yield model.vocabulary.characters[number]
        y, state = packed.step(embedding[number][np.newaxis], state)


def _packed(model: CharLM) -> PackedLayer:
    """The recurrent layers, packed; dropout has no place in writing."""
    was_training = model.training
    try:
        return model.eval().rnn.packed()
    finally:
        model.train(was_training)


def _chances(generator: Generator, block: int = 256) -> Iterator[float]:
    """Endless numbers in [0, 1), in blocks: one draw costs as much as a block of them."""
    while True:
        yield from generator.uniform(block, dtype=np.float64).tolist()


def _draw(logits: Array, temperature: float, chance: float) -> int:
    """The character where the summed probabilities pass `chance`."""
    if not np.isfinite(logits).all():
        raise ValueError("write: model: expected finite logits, got infinite or NaN ones")
    if temperature == 0:
        return int(logits.argmax())
    below = logits.astype(np.float64) - logits.max()
    with np.errstate(over="ignore"):  # a tiny temperature makes -inf, whose exponential is right
        summed = np.exp(below / temperature).cumsum()
    return int(np.searchsorted(summed, chance * summed[-1], side="right"))
