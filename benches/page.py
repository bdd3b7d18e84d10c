"""Tables in a page of the documentation, renewed by the run that measured them."""

from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown; that many of the first columns to the left."""
    rule = ["---" if i < left else "--:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def renew(path: Path, tables: dict[str, str]) -> None:
    """Put each table between its marks `<!-- name -->` and `<!-- end of name -->`."""
    text = path.read_text(encoding="utf-8")
    for name, new in tables.items():
        text = _between(text, f"<!-- {name} -->", f"<!-- end of {name} -->", new)
    path.write_text(text, encoding="utf-8")


def _between(text: str, begin: str, end: str, new: str) -> str:
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"page: expected one {begin} and one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{new}\n\n{end}{rest.split(end)[1]}"


def duration(seconds: float) -> str:
    """Three digits or more, in the unit that suits."""
    unit, value = ("µs", seconds * 1e6) if seconds < 1e-3 else ("ms", seconds * 1e3)
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
