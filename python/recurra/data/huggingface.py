"""Tokenizers of Hugging Face's `tokenizers` package, which is imported when it is used."""

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra import checks

__all__ = ["HuggingFaceTokenizer"]


class HuggingFaceTokenizer:
    """The methods of `Tokenizer` for a `tokenizers.Tokenizer`, or for a `tokenizer.json` file.

    `padding_index` is the number of its token for padding, by the names that are usual for it, if
    not given; None if it has none. `add_special_tokens` adds the tokens that the tokenizer puts
    around a text, such as [CLS] and [SEP]. Truncation that is set in the tokenizer takes place;
    padding is `pad_sequences`' or `Sequences`' work and is left out here.

    >>> from recurra.data import HuggingFaceTokenizer
    >>> try:
    ...     HuggingFaceTokenizer("no/tokenizer.json")
    ... except (OSError, ImportError) as error:
    ...     print("a file, and `pip install tokenizers`, are needed")
    a file, and `pip install tokenizers`, are needed
    """

    PADDING_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")

    padding_index: int | None
    """What to pad with."""

    def __init__(
        self, tokenizer: Any, *, add_special_tokens: bool = True, padding_index: int | None = None
    ) -> None:
        self.add_special_tokens = checks.flag(
            "HuggingFaceTokenizer", "add_special_tokens", add_special_tokens
        )
        path = isinstance(tokenizer, str | os.PathLike)
        self.tokenizer = _from_file(tokenizer) if path else tokenizer
        for name in ("encode_batch", "decode_batch", "token_to_id", "get_vocab"):
            if not hasattr(self.tokenizer, name):
                raise TypeError(
                    "HuggingFaceTokenizer: tokenizer: expected a tokenizers.Tokenizer or a path, "
                    f"got {type(tokenizer).__name__}"
                )
        self.padding_index = self._padding() if padding_index is None else padding_index

    @property
    def vocabulary_size(self) -> int:
        """One more than the greatest number there is: the rows that an `Embedding` needs."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def texts_to_sequences(self, texts: Iterable[str]) -> list[NDArray[np.int64]]:
        """The numbers (T_i,) of each text."""
        if isinstance(texts, str):
            raise TypeError(
                "HuggingFaceTokenizer.texts_to_sequences: texts: expected a list of texts, "
                "got one str"
            )
        found = self.tokenizer.encode_batch(list(texts), add_special_tokens=self.add_special_tokens)
        return [_numbers(encoding) for encoding in found]

    def sequences_to_texts(self, sequences: Iterable[object]) -> list[str]:
        """Texts of arrays of numbers (T_i,), without special tokens; padding is one of them."""
        operation, limit = "HuggingFaceTokenizer.sequences_to_texts", self.vocabulary_size
        rows = [np.asarray(row) for row in sequences]
        ids = [
            checks.index_array(operation, "sequences", row, limit).tolist() if row.size else []
            for row in rows
        ]
        texts: list[str] = self.tokenizer.decode_batch(ids, skip_special_tokens=True)
        return texts

    def _padding(self) -> int | None:
        known = (self.tokenizer.token_to_id(token) for token in self.PADDING_TOKENS)
        return next((number for number in known if number is not None), None)


def _from_file(path: str | os.PathLike[str]) -> Any:
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError as error:
        raise ImportError(
            "HuggingFaceTokenizer: tokenizers: expected the package, got none: "
            "pip install tokenizers"
        ) from error
    text = Path(path).read_bytes()
    try:
        return tokenizers.Tokenizer.from_buffer(text)
    except Exception as error:  # the package raises nothing more exact
        raise ValueError(
            f"HuggingFaceTokenizer: {path}: expected a tokenizer.json, got {error}"
        ) from error


def _numbers(encoding: Any) -> NDArray[np.int64]:
    """The numbers of one text, without what the tokenizer padded."""
    ids = np.array(encoding.ids, np.int64)
    kept: NDArray[np.int64] = ids[np.array(encoding.attention_mask, bool)]
    return kept
