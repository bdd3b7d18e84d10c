"""Padding and numbers of words as Keras has them: recorded, and what is different by intention."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import Tokenizer, pad_sequences

GOLDEN = json.loads(
    (Path(__file__).parent / "golden" / "keras_text.json").read_text(encoding="utf-8")
)
SIDES = {"pre": "left", "post": "right"}


@pytest.mark.parametrize("case", GOLDEN["pad"], ids=lambda case: str(case["options"]))
def test_padding_is_keras_padding(case: dict[str, Any]) -> None:
    options = case["options"]
    values, lengths = pad_sequences(
        case["sequences"],
        options["maxlen"],
        padding_side=SIDES[options["padding"]],
        truncation_side=SIDES[options["truncating"]],
        padding_value=9,
    )
    assert values.tolist() == case["values"]
    kept = [min(len(row), values.shape[1]) for row in case["sequences"]]
    assert lengths.tolist() == kept


@pytest.mark.parametrize("case", GOLDEN["tokenizer"], ids=lambda case: str(case["options"]))
class TestTokenizer:
    def fitted(self, case: dict[str, Any]) -> Tokenizer:
        tokenizer = Tokenizer(**case["options"])
        for texts in case["fits"]:
            tokenizer.fit_on_texts(texts)
        return tokenizer

    def test_the_numbers_of_words(self, case: dict[str, Any]) -> None:
        tokenizer = self.fitted(case)
        assert list(tokenizer.word_index.items()) == list(case["word_index"].items())
        assert [list(pair) for pair in tokenizer.word_counts.items()] == case["word_counts"]
        assert tokenizer.document_count == sum(map(len, case["fits"]))

    def test_the_numbers_of_texts(self, case: dict[str, Any]) -> None:
        sequences = self.fitted(case).texts_to_sequences(case["texts"])
        assert [row.tolist() for row in sequences] == case["sequences"]
        assert all(row.dtype == np.int64 for row in sequences)

    def test_texts_of_numbers(self, case: dict[str, Any]) -> None:
        """Keras puts a space between whatever there is, this between words `split` or nothing."""
        tokenizer = self.fitted(case)
        between = "" if tokenizer.char_level else tokenizer.split
        words = [[tokenizer.sequences_to_texts([[i]])[0] for i in row] for row in case["sequences"]]
        assert [" ".join(row) for row in words] == case["back"]
        assert tokenizer.sequences_to_texts(case["sequences"]) == [between.join(w) for w in words]

    def test_what_is_read_from_json_is_the_same(self, case: dict[str, Any], tmp_path: Path) -> None:
        tokenizer = self.fitted(case)
        tokenizer.save(tmp_path / "words.json")
        again = Tokenizer.load(tmp_path / "words.json")
        assert again.to_json() == tokenizer.to_json()
        assert list(again.word_index.items()) == list(tokenizer.word_index.items())
        for one in (tokenizer, again):
            one.fit_on_texts(["the the a new word"])
        assert list(again.word_index.items()) == list(tokenizer.word_index.items())

    def test_numbers_fit_an_embedding(self, case: dict[str, Any]) -> None:
        tokenizer = self.fitted(case)
        numbers = [i for row in case["sequences"] for i in row]
        assert max(numbers, default=0) < tokenizer.vocabulary_size
        assert tokenizer.vocabulary_size <= len(tokenizer.word_index) + 1
