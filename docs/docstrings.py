"""From the docstrings' plain style to what Sphinx reads.

Docstrings are written to be read in an editor: `code` in single backticks, and equations and
tables as indented blocks. In reStructuredText the first would be a reference and the second a
quotation, and a `*` or `|` outside of code would be markup.
"""

import re
from collections.abc import Iterator
from typing import Any

# A section of Google's style, which napoleon reads: its text is indented below it.
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Example|Examples|Note):$")
CODE = re.compile(r"``.+?``|`([^`]+)`", re.DOTALL)
# Markup by accident: a lone star before something, a bar, and an underscore that ends a word.
MARKUP = re.compile(r"(?<!\*)\*(?![\s*])|\||(?<=\w)_(?!\w)")


def setup(app: Any) -> dict[str, bool]:
    """Make Sphinx use this module."""
    # Below 500, which is napoleon's: it reads what this writes.
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}


def converted(lines: list[str]) -> list[str]:
    r"""The lines of a docstring as reStructuredText.

    >>> converted(["Of `x`, G*H:", "", "    y = x | 1", "", ">>> 2 * 3", "6"])
    ['Of ``x``, G\\*H:', '', '::', '', '    y = x | 1', '', '>>> 2 * 3', '6']
    """
    return [line for block in _blocks(lines) for line in block]


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Paragraphs: what stands between empty lines, converted by its kind."""
    in_section = in_literal = False
    for block in _split(lines):
        text = [line for line in block if line.strip()]
        is_indented = bool(text) and all(line.startswith("    ") for line in text)
        if not is_indented:
            in_section, in_literal = bool(text) and bool(SECTION.match(text[0])), False
        if is_indented and not in_section:
            yield block if in_literal else ["::", "", *block]
            in_literal = True
        elif text and text[0].lstrip().startswith(">>>"):
            yield block
        else:
            yield _inline(block)


def _split(lines: list[str]) -> Iterator[list[str]]:
    """Blocks with the empty lines behind them."""
    block: list[str] = []
    for line in lines:
        if block and line.strip() and not block[-1].strip():
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _inline(block: list[str]) -> list[str]:
    text, out, end = "\n".join(block), "", 0
    doctest = re.search(r"^ *>>>.*", text, re.MULTILINE | re.DOTALL)
    tail = doctest.group() if doctest else ""
    text = text[: len(text) - len(tail)] if tail else text
    for code in CODE.finditer(text):
        out += MARKUP.sub(r"\\\g<0>", text[end : code.start()])
        out += f"``{code.group(1)}``" if code.group(1) else code.group()
        end = code.end()
        out += "\\ " if text[end : end + 1].isalnum() else ""
    out += MARKUP.sub(r"\\\g<0>", text[end:])
    return (out + tail).split("\n")


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    # In the first line of an attribute's text napoleon takes what stands before a colon for a type.
    lines[:] = [""] * (what == "attribute") + converted(lines)


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """What a package imports from elsewhere is not its own."""
    module = getattr(obj, "__module__", None) or ""
    return True if isinstance(module, str) and module and not module.startswith("recurra") else None
