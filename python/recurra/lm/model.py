"""The model and its score."""

import math
from dataclasses import dataclass
from typing import Any

from recurra import checks, train
from recurra.autograd import Tensor
from recurra.data import Streams
from recurra.layers import Dropout, Embedding, Linear
from recurra.losses import cross_entropy
from recurra.module import Module
from recurra.recurrent import GRU, LSTM, RNN
from recurra.text import Ids, Vocabulary

__all__ = ["CELLS", "CharLM", "LMConfig", "Score", "evaluate"]

CELLS: dict[str, type[LSTM] | type[GRU] | type[RNN]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class LMConfig:
    """The shape of a model.

    `cell` is `"lstm"`, `"gru"` or `"rnn"`; `layers` of them have `hidden` units each; `embedding`
    numbers stand for a character. While training, a fraction `dropout` of the activations behind
    each layer is dropped.

    >>> from recurra.lm import LMConfig
    >>> LMConfig(cell="gru", hidden=0)
    Traceback (most recent call last):
    ValueError: LMConfig: hidden: expected an int >= 1, got 0
    """

    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        checks.one_of("LMConfig", "cell", self.cell, tuple(CELLS))
        for name in ("hidden", "layers", "embedding"):
            checks.size("LMConfig", name, getattr(self, name))
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float):
            raise TypeError(f"LMConfig: dropout: expected a number, got {self.dropout!r}")
        checks.within("LMConfig", "dropout", self.dropout, 0, 1)


class CharLM(Module):
    """Predicts the next character: embedding, recurrent layers, linear.

    It reads and writes the `V` characters of `vocabulary`. Its first weights come from the
    default generator, which `recurra.manual_seed` sets.

    >>> import numpy as np
    >>> from recurra.lm import CharLM, LMConfig
    >>> from recurra.text import Vocabulary
    >>> vocabulary = Vocabulary.of("to be or not")
    >>> model = CharLM(vocabulary, LMConfig(hidden=16, embedding=8))
    >>> logits, state = model(vocabulary.encode("to be")[np.newaxis])
    >>> logits.shape
    (1, 5, 7)
    """

    def __init__(self, vocabulary: Vocabulary, config: LMConfig) -> None:
        between = config.dropout if config.layers > 1 else 0.0
        self.vocabulary, self.config = vocabulary, config
        self.embedding = Embedding(len(vocabulary), config.embedding)
        self.rnn = CELLS[config.cell](
            config.embedding, config.hidden, config.layers, dropout=between
        )
        self.dropout = Dropout(config.dropout)
        self.head = Linear(config.hidden, len(vocabulary))

    def forward(self, ids: Ids, state: Any = None) -> tuple[Tensor, Any]:
        """Logits `(B, T, V)` of each next character, and the state after the last.

        `ids (B, T)` are characters by number; `state` is what an earlier call returned, or zeros.
        """
        y, state = self.rnn(self.embedding(ids), state)
        return self.head(self.dropout(y) if self.dropout.p else y), state


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text: `loss` is the mean cross entropy of a character in nats.

    >>> from recurra.lm import Score
    >>> print(Score(loss=0.6931471805599453, characters=10))
    loss 0.6931 nats, 1.0000 bits per character, perplexity 2.000, over 10 characters
    """

    loss: float
    characters: int

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """As many equally likely characters would be as hard to guess."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.4f} nats, {self.bits:.4f} bits per character, "
            f"perplexity {self.perplexity:.3f}, over {self.characters} characters"
        )


def evaluate(model: CharLM, ids: Ids, batch: int | None = None, window: int = 256) -> Score:
    """Score a model on the text `ids (N,)`, read as `batch` pieces side by side.

    Each piece begins with a zero state, which is carried to its end; the default is up to 32
    pieces of at least 1000 characters. `recurra.data.Streams` says which characters at the end of
    the text belong to no piece: fewer than `batch`. A larger `window` takes more memory and gives
    the same score but for the rounding of its sum.
    """
    pieces = min(32, max(1, len(ids) // 1000)) if batch is None else batch
    streams = Streams(ids, pieces, window)
    loss = train.evaluate(model, streams, cross_entropy)["loss"]
    return Score(loss, streams.rows * streams.length)
