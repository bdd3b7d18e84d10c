"""Pages of documentation: their blocks of code, run, and what they promise to print."""

import contextlib
import io
import re
from typing import Any

__all__ = ["blocks", "executed", "promises"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def executed(
    code: str, name: str, names: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str]:
    """The names that a block of code leaves, beside those it gets, and what it prints."""
    names = {} if names is None else names
    names["__name__"] = name
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, name, "exec"), names)
    return names, out.getvalue()


def promises(code: str) -> list[str]:
    """What comments say that lines print: `print(1 + 1)  # 2: a sum`."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
