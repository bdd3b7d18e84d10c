"""Tokenizers: what is theirs alone, bad input, files, and those of Hugging Face."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import HuggingFaceTokenizer, Tokenizer


def test_a_word_like_the_oov_token_is_out_of_vocabulary() -> None:
    tokenizer = Tokenizer(oov_token="unk")
    tokenizer.fit_on_texts(["a unk unk b a"])
    assert tokenizer.word_index == {"unk": 1, "a": 2, "b": 3}
    assert tokenizer.texts_to_sequences(["unk a nothing"])[0].tolist() == [1, 2, 1]


def test_an_empty_token_is_a_token() -> None:
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts([["", "a"]])
    assert tokenizer.texts_to_sequences([["b", "", "a"]])[0].tolist() == [1, 2]


def test_padding_is_no_word() -> None:
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    assert tokenizer.sequences_to_texts([[0, 1, 0, 2, 0], [], [0]]) == ["a b", "", ""]


@given(st.lists(st.text(min_size=1), min_size=1))
def test_characters_come_back(texts: list[str]) -> None:
    tokenizer = Tokenizer(char_level=True, lower=False)
    tokenizer.fit_on_texts(texts)
    assert tokenizer.sequences_to_texts(tokenizer.texts_to_sequences(texts)) == texts
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.word_index == tokenizer.word_index


@given(st.lists(st.text()), st.integers(2, 9), st.booleans())
def test_numbers_are_within_the_vocabulary(texts: list[str], size: int, oov: bool) -> None:
    tokenizer = Tokenizer(size, oov_token="<?>" if oov else None)
    tokenizer.fit_on_texts([*texts, "a b c"])
    ids = np.concatenate(tokenizer.texts_to_sequences([*texts, "unknown words"]))
    assert ((ids > 0) & (ids < tokenizer.vocabulary_size)).all()
    counts = list(tokenizer.word_counts.values())
    numbers = [tokenizer.word_index[word] for word in tokenizer.word_counts]
    assert [counts[i] for i in np.argsort(numbers)] == sorted(counts, reverse=True)


def test_lone_surrogates_are_saved(tmp_path: Path) -> None:
    tokenizer = Tokenizer(char_level=True)
    tokenizer.fit_on_texts(["a\udc80"])
    tokenizer.save(tmp_path / "a")
    assert Tokenizer.load(tmp_path / "a").word_index == {"a": 1, "\udc80": 2}


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"num_words": 1}, ValueError, "num_words: expected an int >= 2, got 1"),
        ({"num_words": 2.0}, TypeError, "num_words: expected an int, got float"),
        ({"split": ""}, ValueError, "split: expected a character or more, got ''"),
        ({"filters": None}, TypeError, "filters: expected str, got NoneType"),
        ({"lower": 1}, TypeError, "lower: expected bool, got int"),
        ({"oov_token": 1}, TypeError, "oov_token: expected str, got int"),
    ],
)
def test_bad_settings(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^Tokenizer: {message}$"):
        Tokenizer(**options)


def test_bad_texts() -> None:
    tokenizer = Tokenizer()
    with pytest.raises(RuntimeError, match="expected fit_on_texts before it"):
        tokenizer.texts_to_sequences(["a"])
    with pytest.raises(TypeError, match=r"fit_on_texts: texts: expected a list of texts, got one"):
        tokenizer.fit_on_texts("one text")
    with pytest.raises(TypeError, match=r"fit_on_texts: texts\[1\]: expected str, got int"):
        tokenizer.fit_on_texts([["a"], ["b", 3]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"fit_on_texts: texts\[0\]: expected a text or"):
        tokenizer.fit_on_texts([3])  # type: ignore[list-item]
    assert tokenizer.word_counts == {}, "nothing is counted of what was refused"
    assert tokenizer.document_count == 0


@pytest.mark.parametrize(
    ("sequences", "kind", "message"),
    [
        ([[3]], IndexError, "expected 0 <= id < 3, got 3"),
        ([[-1]], IndexError, "expected 0 <= id < 3, got -1"),
        ([[1.0]], TypeError, "expected integers, got float64"),
        ([[[1]]], ValueError, r"expected rows \(T,\), got \(1, 1\)"),
    ],
)
def test_bad_numbers(sequences: Any, kind: type[Exception], message: str) -> None:
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    with pytest.raises(kind, match=f"sequences_to_texts: sequences: {message}"):
        tokenizer.sequences_to_texts(sequences)


def spoilt(change: dict[str, Any]) -> str:
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    return json.dumps(json.loads(tokenizer.to_json()) | change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected what Tokenizer.to_json wrote"),
        ("{}", "expected what Tokenizer.to_json wrote"),
        (spoilt({"format": "other"}), "expected what Tokenizer.to_json wrote"),
        (spoilt({"more": 1}), "expected what Tokenizer.to_json wrote"),
        (spoilt({"num_words": "many"}), "num_words: expected an int"),
        (spoilt({"document_count": -1}), "document_count: expected an int >= 0"),
        (spoilt({"word_counts": {"a": 1}}), "word_counts: expected list, got dict"),
        (spoilt({"word_counts": [["a"]]}), "word_counts: expected words with counts"),
        (spoilt({"word_counts": [["a", 0]]}), "word_counts: expected an int >= 1"),
        (spoilt({"word_counts": [["a", 1], ["a", 1]]}), "word_counts: expected no word twice"),
    ],
)
def test_damaged_files(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises((ValueError, TypeError), match=message):
        Tokenizer.load(tmp_path / "a")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(oov_token="ß")
    tokenizer.fit_on_texts(["a bä"])
    tokenizer.save(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"Tokenizer\.(load|from_json)"):
            Tokenizer.load(tmp_path / "cut")


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match="pip install tokenizers"):
        HuggingFaceTokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("value", [1, None, "no"])
def test_special_tokens_are_a_flag(value: Any) -> None:
    got = type(value).__name__
    message = f"HuggingFaceTokenizer: add_special_tokens: expected True or False, got {got}"
    with pytest.raises(TypeError, match=f"^{message}$"):
        HuggingFaceTokenizer("tokenizer.json", add_special_tokens=value)


@pytest.mark.skipif(
    importlib.util.find_spec("tokenizers") is None, reason="the tokenizers package is not installed"
)
class TestHuggingFace:
    TEXTS: tuple[str, ...] = ("the cat sat", "the dog", "")

    def made(self, **special: Any) -> Any:
        import tokenizers

        vocabulary = {"[PAD]": 0, "[UNK]": 1, "the": 2, "cat": 3, "sat": 4}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
        return tokenizer

    def test_numbers(self) -> None:
        adapter = HuggingFaceTokenizer(self.made())
        found = adapter.texts_to_sequences(self.TEXTS)
        assert [row.tolist() for row in found] == [[2, 3, 4], [2, 1], []]
        assert all(row.dtype == np.int64 for row in found)
        assert adapter.vocabulary_size == 5
        assert adapter.padding_index == 0
        assert adapter.sequences_to_texts([[2, 3, 0], []]) == ["the cat", ""]

    def test_padding_of_its_own_is_taken_off(self) -> None:
        made = self.made()
        made.enable_padding(pad_id=0, pad_token="[PAD]", length=6)
        found = HuggingFaceTokenizer(made).texts_to_sequences(self.TEXTS)
        assert [row.tolist() for row in found] == [[2, 3, 4], [2, 1], []]

    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        self.made().save(str(path))
        found = HuggingFaceTokenizer(path, padding_index=1)
        assert found.padding_index == 1
        assert found.texts_to_sequences(["cat"])[0].tolist() == [3]
        path.write_text("{}")
        with pytest.raises(ValueError, match=r"expected a tokenizer\.json"):
            HuggingFaceTokenizer(path)
        with pytest.raises(FileNotFoundError):
            HuggingFaceTokenizer(tmp_path / "none.json")

    def test_bad_input(self) -> None:
        with pytest.raises(TypeError, match=r"expected a tokenizers\.Tokenizer or a path, got int"):
            HuggingFaceTokenizer(3)
        adapter = HuggingFaceTokenizer(self.made())
        with pytest.raises(TypeError, match="expected a list of texts, got one str"):
            adapter.texts_to_sequences("cat")
        with pytest.raises(IndexError, match="expected 0 <= id < 5, got 5"):
            adapter.sequences_to_texts([[5]])
