"""Text as numbers and back, and the windows that training reads."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.text import Vocabulary, Windows, read_text, split


@given(st.text(min_size=1))
def test_decode_undoes_encode(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert vocabulary.decode(ids) == text
    assert sorted(set(ids.tolist())) == list(range(len(vocabulary)))


@given(st.text(alphabet=st.characters(), min_size=1), st.text(alphabet=st.characters()))
def test_only_the_first_unknown_character_is_named(known: str, text: str) -> None:
    unknown = [at for at, character in enumerate(text) if character not in known]
    vocabulary = Vocabulary.of(known)
    if not unknown:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    with pytest.raises(ValueError, match="expected the") as caught:
        vocabulary.encode(text)
    assert str(caught.value) == (
        f"Vocabulary.encode: text: expected the {len(vocabulary)} known characters, "
        f"got {text[unknown[0]]!r} at position {unknown[0]}"
    )


def test_lone_surrogates_are_characters() -> None:
    vocabulary = Vocabulary.of("a\udc80")
    assert vocabulary.decode(vocabulary.encode("\udc80a")) == "\udc80a"


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "expected at least one, got none"),
        ("ba", "expected ascending code points, none twice, got 'ba'"),
        ("aa", "expected ascending code points, none twice, got 'aa'"),
    ],
)
def test_bad_vocabularies(characters: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"Vocabulary: characters: {message}"):
        Vocabulary(characters)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 3], r"expected 0\.\.2, got 3"),
        ([-1], r"expected 0\.\.2, got -1"),
        ([0.0], "expected integers, got float64"),
        ([True], "expected integers, got bool"),
    ],
)
def test_bad_numbers(ids: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"Vocabulary.decode: ids: {message}"):
        Vocabulary("abc").decode(ids)


def test_nothing_decodes_to_nothing() -> None:
    assert Vocabulary("abc").decode([]) == ""
    assert Vocabulary("abc").encode("").tolist() == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"\xef\xbb\xbfmark", "mark"),
        ("ß🙂".encode(), "ß🙂"),
    ],
)
def test_read_text(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a").write_bytes(data)
    assert read_text(tmp_path / "a") == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected some text, got an empty file"),
        (b"\xef\xbb\xbf", "expected some text, got an empty file"),
        (b"abc\xff", "expected UTF-8 text, got byte 0xff at position 3"),
    ],
)
def test_unreadable_text(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match=f"read_text: .*a: {message}"):
        read_text(tmp_path / "a")


@given(size=st.integers(0, 200), fraction=st.floats(0.001, 0.999))
def test_split_keeps_every_character_once(size: int, fraction: float) -> None:
    ids = np.arange(size)
    try:
        train, validation = split(ids, fraction)
    except ValueError as error:
        assert "the text is too short" in str(error)
        assert min(size - round(size * fraction), round(size * fraction)) < 2
        return
    assert np.array_equal(np.concatenate([train, validation]), ids)
    assert len(validation) == round(size * fraction)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_bad_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"split: validation: expected a fraction in \(0, 1\)"):
        split(np.arange(100), fraction)


@given(size=st.integers(2, 300), batch=st.integers(1, 12), window=st.integers(1, 40))
def test_windows_follow_each_other_and_cover_the_text(size: int, batch: int, window: int) -> None:
    windows = Windows(np.arange(size), batch, window)
    pairs = list(windows)
    assert len(pairs) == len(windows)
    assert all(inputs.shape == targets.shape for inputs, targets in pairs)
    assert all(inputs.shape[1] == window for inputs, _ in pairs[:-1])
    inputs = np.concatenate([inputs for inputs, _ in pairs], axis=1)
    targets = np.concatenate([targets for _, targets in pairs], axis=1)
    assert np.array_equal(targets, inputs + 1)
    assert np.array_equal(inputs.ravel(), np.arange(inputs.size))
    assert inputs.shape == (windows.rows, windows.length)
    assert 0 <= size - 1 - inputs.size < batch


@pytest.mark.parametrize(
    ("size", "batch", "window", "message"),
    [
        (1, 1, 1, "ids: expected at least 2, got 1"),
        (9, 0, 1, "batch: expected at least 1, got 0"),
        (9, 1, 0, "window: expected at least 1, got 0"),
    ],
)
def test_bad_windows(size: int, batch: int, window: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"Windows: {message}"):
        Windows(np.arange(size), batch, window)
