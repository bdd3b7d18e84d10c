"""Text as numbers: a character vocabulary, a validation split, and windows for training.

Letters: `V` characters in the vocabulary, `N` characters in a text, `B` streams read side by
side, `T` characters in a window.
"""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recurra import checks
from recurra.data.streams import Streams

__all__ = ["Ids", "Vocabulary", "Windows", "read_text", "split"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The `V` characters that a model knows; a character's number is its place among them.

    `characters` are in ascending order of their code points, none twice. A character outside the
    vocabulary is refused, with the character and where it stands: nothing is replaced or dropped.

    >>> from recurra.text import Vocabulary
    >>> vocabulary = Vocabulary.of("hello")
    >>> vocabulary
    Vocabulary(characters='ehlo')
    >>> vocabulary.encode("hole")
    array([1, 3, 2, 0])
    >>> vocabulary.decode([1, 3, 2, 0])
    'hole'
    >>> vocabulary.encode("help")
    Traceback (most recent call last):
    ValueError: Vocabulary.encode: text: expected the 4 known characters, got 'p' at position 3
    """

    characters: str

    def __post_init__(self) -> None:
        checked_text("Vocabulary", "characters", self.characters)
        if not self.characters:
            raise ValueError("Vocabulary: characters: expected at least one, got none")
        if list(self.characters) != sorted(set(self.characters)):
            raise ValueError(
                "Vocabulary: characters: expected ascending code points, none twice, "
                f"got {self.characters!r}"
            )

    def __len__(self) -> int:
        return len(self.characters)

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Make the vocabulary of all characters in `text`."""
        return cls("".join(sorted(set(checked_text("Vocabulary.of", "text", text)))))

    def encode(self, text: str) -> Ids:
        """Numbers `(N,)` of the characters of `text`."""
        checked_text("Vocabulary.encode", "text", text)
        known, given = _code_points(self.characters), _code_points(text)
        ids = np.searchsorted(known, given).clip(max=len(known) - 1)
        unknown = np.flatnonzero(known[ids] != given)
        if unknown.size:
            at = int(unknown[0])
            raise ValueError(
                f"Vocabulary.encode: text: expected the {len(self)} known characters, "
                f"got {text[at]!r} at position {at}"
            )
        return ids.astype(np.int64)

    def decode(self, ids: ArrayLike) -> str:
        """Characters of the numbers `ids (N,)`, each `0..V-1`."""
        numbers = np.asarray(ids)
        if numbers.size and numbers.dtype.kind not in "iu":
            raise ValueError(f"Vocabulary.decode: ids: expected integers, got {numbers.dtype}")
        outside = numbers[(numbers < 0) | (numbers >= len(self))]
        if outside.size:
            raise ValueError(
                f"Vocabulary.decode: ids: expected 0..{len(self) - 1}, got {outside.flat[0]}"
            )
        return "".join(self.characters[number] for number in numbers.ravel())


def checked_text(operation: str, argument: str, value: object) -> str:
    """`value` if it is a text."""
    text: str = checks.instance(operation, argument, value, str, "a str")
    return text


def _code_points(text: str) -> NDArray[np.uint32]:
    # A lone surrogate is a character like any other here: it is known or it is not.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 text file; every line ends in `\n`, whatever it was in the file.

    A file that is empty or not UTF-8 is a `ValueError`.

    >>> import tempfile, pathlib
    >>> from recurra.text import read_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "a.txt")
    ...     _ = file.write_bytes(b"To be,\r\nor not")
    ...     read_text(file)
    'To be,\nor not'
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise ValueError(f"read_text: {path}: expected UTF-8 text, got {got}") from error
    if not text:
        raise ValueError(f"read_text: {path}: expected some text, got an empty file")
    return text


def split(ids: Ids, validation: float = 0.1) -> tuple[Ids, Ids]:
    """Cut the text `ids (N,)` in two: the beginning to train on, the end to validate on.

    `validation` is the fraction kept to validate on, above 0 and below 1. Either part, a view of
    `ids`, has at least 2 characters (one to read and one to predict), or the text is refused.

    >>> import numpy as np
    >>> from recurra.text import split
    >>> split(np.arange(10), 0.2)
    (array([0, 1, 2, 3, 4, 5, 6, 7]), array([8, 9]))
    """
    if not 0 < checks.number("split", "validation", validation) < 1:
        raise ValueError(f"split: validation: expected a fraction in (0, 1), got {validation}")
    cut = len(ids) - round(len(ids) * validation)
    train, held_out = ids[:cut], ids[cut:]
    if min(len(train), len(held_out)) < 2:
        raise ValueError(
            f"split: ids: expected at least 2 characters in both parts, "
            f"got {len(train)} and {len(held_out)}: the text is too short"
        )
    return train, held_out


@dataclass(frozen=True, eq=False)
class Windows:
    """A text cut into `B` streams side by side, read `T` characters at a time.

    Stream `b` is the `b`-th of `B` equal pieces of the text, and its window follows its window
    before, so that a state can be carried from one to the next. The last window is shorter where
    the pieces are no multiple of `T`; fewer than `B` characters at the end of the text belong to
    no piece.

    `ids (N,)` has at least 2 characters. A text too short for `B` = `batch` streams makes fewer of
    them; `T` is `window`.

    >>> import numpy as np
    >>> from recurra.text import Windows
    >>> for inputs, targets in Windows(np.arange(9), batch=2, window=3):
    ...     print(inputs.tolist(), targets.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """

    ids: Ids
    batch: int
    window: int

    def __post_init__(self) -> None:
        for name, least, got in (
            ("ids", 2, len(self.ids)),
            ("batch", 1, self.batch),
            ("window", 1, self.window),
        ):
            if checks.size("Windows", name, got, -(2**63)) < least:
                raise ValueError(f"Windows: {name}: expected at least {least}, got {got}")

    @property
    def rows(self) -> int:
        """The streams there are: `B`, or fewer in a very short text."""
        return self._streams.rows

    @property
    def length(self) -> int:
        """The characters that each stream predicts."""
        return self._streams.length

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        """Pairs of inputs and targets, `(B, T)` each; a target is its input's next character."""
        return ((batch.inputs, batch.targets) for batch in self._streams.epoch(0))

    @functools.cached_property
    def _streams(self) -> Streams:
        return Streams(self.ids, self.batch, self.window)
