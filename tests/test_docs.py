"""What README and CONTRIBUTING say is true: examples run, commands and files exist."""

import hashlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import recurra
from pages import blocks, executed, promises
from recurra import _core, functional, reference
from recurra.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benches" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


PYTHON = [
    pytest.param(code, id=f"{name}-{i}")
    for name, text in (("README.md", README), ("CONTRIBUTING.md", CONTRIBUTING))
    for i, code in enumerate(blocks(text, "python"))
]


@pytest.mark.parametrize("code", PYTHON)
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone, and each line prints what the comment behind it says."""
    monkeypatch.chdir(tmp_path)
    _, out = executed(code, "example")
    for line, promise in zip(out.splitlines(), promises(code), strict=False):
        assert promise == line or promise.startswith(f"{line}: ")


def test_the_readme_opens_with_two_short_examples() -> None:
    first, second = blocks(README, "python")[:2]
    assert len(first.splitlines()) <= 15
    assert len(second.splitlines()) <= 20
    assert "functional" in first


def test_the_training_example_learns() -> None:
    names, _ = executed(blocks(README, "python")[1], "example")
    assert names["loss"].item() < 1e-3


def test_commands_in_the_readme_parse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, every command gets as far as finding that its file is missing."""
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(README, "console") for line in block.splitlines()]
    commands = [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("recurra ")
    ]
    assert len(commands) >= 5
    for command in commands:
        code = main(command)
        err = capsys.readouterr().err
        assert code == 0 or "No such file or directory" in err, (command, err)


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@every_page
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z-]+)", text, re.MULTILINE))
    assert named or page.name not in ("README.md", "CONTRIBUTING.md")
    assert named <= targets()


@every_page
def test_files_exist(page: Path) -> None:
    """Links, and paths in backticks but those of the cell that is only imagined."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!http)([^)#]+)\)", prose)
    paths = re.findall(r"`((?:rust|python|tests|benches|data|docs|examples|\.ci)/[\w./-]*)`", text)
    assert links or paths or page.name not in ("README.md", "CONTRIBUTING.md")
    missing = [p for p in links if not (page.parent / p).exists()]
    assert missing + [p for p in paths if "foo" not in p and not (ROOT / p).exists()] == []


BENCH = re.compile(r"(?:^|`)(?:\.venv/bin/)?python (benches/\w+\.py)((?: [^`#\n]*)?)", re.MULTILINE)


def commands() -> dict[str, set[str]]:
    """The options that any page gives to each benchmark."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        for script, arguments in BENCH.findall(text):
            found.setdefault(script, set()).update(re.findall(r"--[\w-]+", arguments))
    return found


@pytest.mark.parametrize(("script", "options"), commands().items())
def test_options_of_the_benchmarks_exist(script: str, options: set[str]) -> None:
    command = [sys.executable, str(ROOT / script), "--help"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert options <= set(re.findall(r"--[\w-]+", text))


def test_every_benchmark_has_its_command() -> None:
    """`page.py` and `beside.py` are parts of others."""
    scripts = {f"benches/{path.name}" for path in (ROOT / "benches").glob("*.py")}
    assert commands().keys() == scripts - {"benches/page.py", "benches/beside.py"}


def test_names_in_the_readme_exist() -> None:
    layers = README.partition("## Layers")[2].partition("##")[0]
    names = re.findall(r"`([A-Z]\w+|cross_entropy|mse|clip_grad_norm)`", layers)
    assert len(names) >= 14
    assert [name for name in names if not hasattr(recurra, name)] == []
    functions = README.partition("## NumPy functions")[2].partition("##")[0]
    for name in re.findall(r"`(\w+_(?:forward|backward|step)|pack)`", functions):
        assert hasattr(functional, name)
        assert name == "pack" or hasattr(reference, name)


def test_the_version_is_cargos() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    assert _core.version() == cargo["package"]["version"]


def test_the_text_is_the_one_described() -> None:
    text = (ROOT / "data" / "shakespeare.txt").read_bytes()
    about = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(text).hexdigest() in about
    assert len(text) > 500_000
    assert f"{len(set(text))} different characters" in " ".join(about.split())
