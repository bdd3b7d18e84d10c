"""Numbers of words and padding from Keras, for tests/test_data_keras.py.

    python make_keras_text.py OUT_DIR

writes keras_text.json. Its keys:

- `pad`: cases of `keras.utils.pad_sequences`: `sequences`, `options`, and the `values` it gave.
- `tokenizer`: cases of Keras's `Tokenizer`, which its 3.x releases keep among their legacy code:
  `options`, the lists of texts `fits` that it was fitted on one after the other, `texts`, and what
  it gave: `word_index`, `word_counts` as pairs in its order, `sequences` of the texts, and
  `back`, these as texts again.
"""

import itertools
import json
import sys
from pathlib import Path

import keras
from keras.src.legacy.preprocessing.text import Tokenizer

SEQUENCES = [
    [[1, 2, 3, 4, 5], [6, 7], [8]],
    [[1], [], [2, 3]],
    [[[1, 2], [3, 4], [5, 6]], [[7, 8]]],
]
POEM = [
    "The cat sat on the mat; the dog, the DOG, did not!",
    "Don't stop: it's a well-known cat.\tTab\nand line",
    "",
    "Größe, ÎLE and naïve — 'quoted' words  with   spaces",
    "b a b a c",
]
NEW = ["the dog sat quietly", "CAT cat Cat", "", "unknown words only here?", "don't — stop"]
TOKENS = [["Red", "green"], ["red", "blue", "Red"]]
TOKENIZERS = [
    {},
    {"num_words": 5},
    {"oov_token": "<OOV>"},
    {"num_words": 6, "oov_token": "<OOV>"},
    {"num_words": 2, "oov_token": "?!"},
    {"lower": False},
    {"lower": False, "filters": "", "num_words": 8},
    {"filters": "aeiou", "oov_token": "<unk>"},
    {"split": ",", "filters": ";!"},
    {"char_level": True},
    {"char_level": True, "num_words": 10, "oov_token": "<c>"},
    {"char_level": True, "lower": False},
    {"num_words": 1000},
]


def pad_cases():
    sides = ("pre", "post")
    for sequences, maxlen, padding, truncating in itertools.product(
        SEQUENCES, (None, 1, 2, 7), sides, sides
    ):
        options = {"maxlen": maxlen, "padding": padding, "truncating": truncating}
        values = keras.utils.pad_sequences(sequences, value=9, **options)
        yield {"sequences": sequences, "options": options, "values": values.tolist()}


def tokenizer_case(options, fits, texts):
    tokenizer = Tokenizer(**options)
    for fit in fits:
        tokenizer.fit_on_texts(fit)
    sequences = tokenizer.texts_to_sequences(texts)
    return {
        "options": options,
        "fits": fits,
        "texts": texts,
        "word_index": tokenizer.word_index,
        "word_counts": list(tokenizer.word_counts.items()),
        "sequences": sequences,
        "back": tokenizer.sequences_to_texts(sequences),
    }


def main(folder):
    cases = [
        tokenizer_case(options, fits, POEM + NEW)
        for options in TOKENIZERS
        for fits in ([POEM], [POEM[:1], POEM[1:]])
    ]
    cases += [
        tokenizer_case(options, [TOKENS], [*TOKENS, "green RED"]) for options in TOKENIZERS[:6]
    ]
    golden = {"pad": list(pad_cases()), "tokenizer": cases}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (Path(folder) / "keras_text.json").write_text(text + "\n", encoding="utf-8")
    print(
        f"Keras {keras.__version__}: {len(golden['pad'])} + {len(cases)} cases, {len(text)} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1])
