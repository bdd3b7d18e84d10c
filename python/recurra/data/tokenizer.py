"""Words or characters as numbers and back, as in Keras: frequent ones first, 0 for padding."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra import checks
from recurra.checkpoint import write_atomically

__all__ = ["FILTERS", "Text", "Tokenizer"]

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""What stands between words, beside `split`. The apostrophe belongs to a word."""

Text: TypeAlias = str | Sequence[str]
"""A text, or its tokens, which are then taken as they are but for `lower`."""

PADDING = 0
FORMAT = "recurra.Tokenizer"
SETTINGS = ("num_words", "filters", "lower", "split", "char_level", "oov_token")


class Tokenizer:
    """Numbers for the words of texts, or their characters: 1 for the most frequent, and so on up.

    Behaves like Keras's class of this name. Words are what stands between `split` and the
    characters in `filters`, in lower case with `lower`; with `char_level` every character is a
    token, and nothing is filtered. Words that are equally frequent are in the order in which they
    were met. Number 0 (`padding_index`) is no word's: it is for padding.

    `num_words` keeps the numbers below it, that is the `num_words - 1` most frequent words. Words
    that are not kept or not known become `oov_token`, whose number is then 1, or are left out if
    there is none.

    >>> from recurra.data import Tokenizer, pad_sequences
    >>> tokenizer = Tokenizer(num_words=5, oov_token="<?>")
    >>> tokenizer.fit_on_texts(["The cat sat.", "The cat ran, the dog sat."])
    >>> tokenizer.word_index
    {'<?>': 1, 'the': 2, 'cat': 3, 'sat': 4, 'ran': 5, 'dog': 6}
    >>> ids = tokenizer.texts_to_sequences(["the DOG sat"])
    >>> ids
    [array([2, 1, 4])]
    >>> tokenizer.sequences_to_texts(ids)
    ['the <?> sat']
    >>> pad_sequences(ids, 4, padding_value=tokenizer.padding_index).values
    array([[2, 1, 4, 0]])
    """

    padding_index = PADDING

    def __init__(
        self,
        num_words: int | None = None,
        *,
        filters: str = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
    ) -> None:
        if num_words is not None:
            checks.size("Tokenizer", "num_words", num_words, 2)
        for name, value, kind in (
            ("filters", filters, str),
            ("lower", lower, bool),
            ("split", split, str),
            ("char_level", char_level, bool),
            ("oov_token", "" if oov_token is None else oov_token, str),
        ):
            _check_kind("Tokenizer", name, value, kind)
        if not split:
            raise ValueError("Tokenizer: split: expected a character or more, got ''")
        self.num_words, self.filters, self.lower = num_words, filters, lower
        self.split, self.char_level, self.oov_token = split, char_level, oov_token
        self._between = {ord(character): split for character in filters}
        self.word_counts: Counter[str] = Counter()
        self.document_count = 0
        self._number()

    word_counts: Counter[str]
    """How often each word was met, in the order in which they were."""
    word_index: dict[str, int]
    """The number of every word, also of those that `num_words` leaves out."""
    document_count: int
    """The texts that were read."""

    def fit_on_texts(self, texts: Iterable[Text]) -> None:
        """Count the words of `texts`, on top of what was counted before, and number them anew."""
        counts, documents = Counter(self.word_counts), self.document_count
        for tokens in self._tokens("fit_on_texts", texts):
            counts.update(tokens)
            documents += 1
        if self.oov_token is not None:
            # A word that looks like it would have two numbers.
            del counts[self.oov_token]
        self.word_counts, self.document_count = counts, documents
        self._number()

    def texts_to_sequences(self, texts: Iterable[Text]) -> list[NDArray[np.int64]]:
        """The numbers (T_i,) of each text; it is (0,) for one of no known word."""
        if self.document_count == 0:
            raise RuntimeError("Tokenizer.texts_to_sequences: expected fit_on_texts before it")
        known, other = self._kept, None if self.oov_token is None else 1
        found = (
            [known.get(token, other) for token in tokens]
            for tokens in self._tokens("texts_to_sequences", texts)
        )
        return [np.array([i for i in ids if i is not None], np.int64) for ids in found]

    def sequences_to_texts(self, sequences: Iterable[object]) -> list[str]:
        """Texts of arrays of numbers: padding is left out, an unknown number is an error.

        Words stand between `split`, characters next to each other.
        """
        between = "" if self.char_level else self.split
        rows = checks.items("Tokenizer.sequences_to_texts", "sequences", sequences, "arrays")
        return [between.join(self._words(row)) for row in rows]

    @property
    def vocabulary_size(self) -> int:
        """One more than the greatest number there is: the rows that an `Embedding` needs."""
        size = len(self.word_index) + 1
        return size if self.num_words is None else min(size, self.num_words)

    def to_json(self) -> str:
        """The settings and the counts as JSON."""
        state = {name: getattr(self, name) for name in SETTINGS}
        counts = list(self.word_counts.items())
        state |= {"format": FORMAT, "document_count": self.document_count, "word_counts": counts}
        return json.dumps(state, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Make what `to_json` wrote down; anything else is a `ValueError`."""
        try:
            state = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"Tokenizer.from_json: text: expected JSON, got {error}") from error
        _check_state(state)
        tokenizer = cls(**{name: state[name] for name in SETTINGS})
        tokenizer.word_counts = Counter(dict(state["word_counts"]))
        tokenizer.document_count = state["document_count"]
        tokenizer._number()
        return tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file, all or nothing."""
        write_atomically(Path(path), self.to_json().encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Read what `save` wrote."""
        data = Path(path).read_bytes()
        try:
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise ValueError(f"Tokenizer.load: {path}: expected UTF-8, got {error}") from error
        return cls.from_json(text)

    def _tokens(self, operation: str, texts: object) -> Iterator[list[str]]:
        if isinstance(texts, str):
            raise TypeError(f"Tokenizer.{operation}: texts: expected a list of texts, got one str")
        operation = f"Tokenizer.{operation}"
        found = checks.instance(operation, "texts", texts, Iterable, "a list of texts")
        for i, text in enumerate(found):
            yield self._split(operation, f"texts[{i}]", text)

    def _split(self, operation: str, argument: str, text: Text) -> list[str]:
        """The tokens of one text."""
        if not isinstance(text, str):
            if not isinstance(text, Sequence):
                raise TypeError(
                    f"{operation}: {argument}: expected a text or a list of tokens, "
                    f"got {type(text).__name__}"
                )
            for token in text:
                _check_kind(operation, argument, token, str)
            return [token.lower() for token in text] if self.lower else list(text)
        if self.lower:
            text = text.lower()
        if self.char_level:
            return list(text)
        return [word for word in text.translate(self._between).split(self.split) if word]

    def _number(self) -> None:
        """Number the words: the sort is stable, so equally frequent ones stay in order."""
        words = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        first = [] if self.oov_token is None else [self.oov_token]
        self.word_index = {word: i for i, word in enumerate([*first, *words], 1)}
        limit = self.vocabulary_size
        self._kept = {word: i for word, i in self.word_index.items() if i < limit}
        self._by_number = ["", *self._kept]

    def _words(self, ids: object) -> Iterator[str]:
        operation, limit = "Tokenizer.sequences_to_texts", len(self._by_number)
        row = checks.array(operation, "sequences", ids)
        if row.size == 0:
            return iter(())
        numbers = checks.index_array(operation, "sequences", row, limit)
        if numbers.ndim != 1:
            raise ValueError(f"{operation}: sequences: expected rows (T,), got {numbers.shape}")
        return (self._by_number[i] for i in numbers.tolist() if i != PADDING)


def _check_kind(operation: str, argument: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"{operation}: {argument}: expected {kind.__name__}, got {type(value).__name__}"
        )


def _check_state(state: Any) -> None:
    """Refuse JSON that `to_json` cannot have written, as far as settings do not."""
    operation = "Tokenizer.from_json"
    names = {*SETTINGS, "format", "document_count", "word_counts"}
    if not isinstance(state, dict) or state.get("format") != FORMAT or set(state) != names:
        raise ValueError(f"{operation}: text: expected what Tokenizer.to_json wrote")
    checks.size(operation, "document_count", state["document_count"], 0)
    counts = state["word_counts"]
    _check_kind(operation, "word_counts", counts, list)
    for pair in counts:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f"{operation}: word_counts: expected words with counts, got {pair!r}")
        checks.size(operation, "word_counts", pair[1])
    if len(dict(counts)) != len(counts):
        raise ValueError(f"{operation}: word_counts: expected no word twice")
