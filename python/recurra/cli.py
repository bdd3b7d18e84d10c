"""The command `recurra`."""

import argparse
import os
import sys
from collections.abc import Sequence

from recurra import _core
from recurra.config import set_num_threads, show_config
from recurra.lm.commands import add_commands

__all__ = ["main"]

OK, FAILED, INTERRUPTED = 0, 2, 130
"""Exit codes. argparse also ends a bad command line with 2; a shell calls Ctrl-C 130."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or the process's; returns the exit code.

    >>> from recurra.cli import main
    >>> main(["info"])
    recurra ...
    instruction set: ...
    threads: ...
    0
    """
    options = _parser().parse_args(arguments)
    try:
        if options.threads is not None:
            set_num_threads(options.threads)
        return OK if options.run(options) is not False else INTERRUPTED
    except KeyboardInterrupt:
        print("\nrecurra: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as in `recurra lm sample ... | head`. Python would try to tell it
        # once more at the end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ArithmeticError, MemoryError, OSError, TypeError, ValueError) as error:
        print(f"recurra: error: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recurra", description="Recurrent networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"recurra {_core.version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="print version, instruction set and threads")
    info.set_defaults(run=lambda options: show_config(), threads=None)
    lm = commands.add_parser("lm", help="character language models: train, sample, eval")
    add_commands(lm.add_subparsers(required=True, metavar="COMMAND"))
    return parser
