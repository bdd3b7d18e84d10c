"""Threads and instruction set, as a user sets and sees them."""

import os
import subprocess
import sys
from typing import Any

import pytest

import recurra


def test_set_and_get() -> None:
    recurra.set_num_threads(3)
    assert recurra.get_num_threads() == 3


def test_the_context_restores_after_an_error() -> None:
    before = recurra.get_num_threads()
    with pytest.raises(KeyError), recurra.num_threads(before + 1):
        assert recurra.get_num_threads() == before + 1
        raise KeyError
    assert recurra.get_num_threads() == before


@pytest.mark.parametrize(("n", "got"), [(0, "0"), (-1, "-1"), (2.5, "float"), ("2", "str")])
def test_other_numbers_of_threads_are_refused(n: Any, got: str) -> None:
    before = recurra.get_num_threads()
    text = f"set_num_threads: n: expected an integer from 1 to 4096, got {got}$"
    for call in (recurra.set_num_threads, lambda n: recurra.num_threads(n).__enter__()):
        with pytest.raises((TypeError, ValueError), match=text):
            call(n)
    assert recurra.get_num_threads() == before


def info(**environment: str) -> subprocess.CompletedProcess[str]:
    """`show_config` in a process with these variables."""
    code = "import recurra; recurra.show_config()"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_sets_the_threads() -> None:
    assert info(RECURRA_NUM_THREADS="5").stdout.splitlines()[2] == "threads: 5"


def test_the_environment_forces_an_instruction_set() -> None:
    assert info(RECURRA_ISA="scalar").stdout.splitlines()[1] == "instruction set: scalar"


@pytest.mark.parametrize("value", ["0", "-2", "many"])
def test_bad_thread_numbers_are_refused(value: str) -> None:
    result = info(RECURRA_NUM_THREADS=value)
    assert result.returncode != 0
    assert "RECURRA_NUM_THREADS" in result.stderr


def test_an_unknown_instruction_set_is_refused() -> None:
    result = info(RECURRA_ISA="abacus")
    assert result.returncode != 0
    assert "RECURRA_ISA" in result.stderr
    assert "abacus" in result.stderr


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    with recurra.num_threads(2):
        recurra.show_config()
    version, isa, threads = capsys.readouterr().out.splitlines()
    assert version.startswith("recurra ")
    assert isa.removeprefix("instruction set: ") in {"scalar", "avx2", "avx512", "neon"}
    assert threads == "threads: 2"
