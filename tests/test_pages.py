"""The pages of the site: examples run, names exist, and every public module is in the API."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import recurra
from pages import blocks, executed, promises

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}

# What users do not call by its module: it is documented where it is exported, or it is a command.
INTERNAL = {"checks", "cli", "graph", "lm", "stack", "tensor"}


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's examples one after the other; lines print what the comments behind them say."""
    if "matplotlib" in PAGES[name]:
        pytest.importorskip("matplotlib", reason=f"{name}.md draws with matplotlib")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(PAGES[name], "python"):
        _, out = executed(code, name, names)
        assert len(out.splitlines()) >= len(promises(code))
        for line, promise in zip(out.splitlines(), promises(code), strict=False):
            assert promise == line or promise.startswith(f"{line}: ")


@pytest.mark.parametrize("name", PAGES)
def test_names_exist(name: str) -> None:
    """`recurra.a.b` in backticks, on every page."""
    for dotted in re.findall(r"`recurra((?:\.\w+)+)[`(]", PAGES[name]):
        found: object = recurra
        for part in dotted[1:].split("."):
            found = attribute(found, part)


def attribute(owner: object, name: str) -> object:
    """An attribute, or a module that was not imported yet."""
    if not hasattr(owner, name) and isinstance(owner, ModuleType):
        return importlib.import_module(f"{owner.__name__}.{name}")
    return getattr(owner, name)


# What a model is made of and trained with, whoever comes.
BUILDING = "layers losses metrics schedules optim averaging train data ctc crf"
# What they share, which nobody looks for by its name there.
SHARED = {
    "Average", "Batch", "Batches", "BestTags", "Group", "History", "Hypothesis", "LRCurve",
    "Metric", "Optimizer", "Padded", "Parameters", "Run", "Schedule", "Scaler", "Split",
}  # fmt: skip


@pytest.mark.parametrize("page", ["pytorch", "keras"])
@pytest.mark.parametrize("module", BUILDING.split(" "))
def test_every_building_block_has_its_term(module: str, page: str) -> None:
    """All classes, and functions but those of which a class is named (`f1` beside `F1`)."""
    owner = importlib.import_module(f"recurra.{module}")
    names = getattr(owner, "__all__", vars(owner))
    found = {n for n in names if n[0] != "_" and not isinstance(vars(owner)[n], ModuleType)}
    said = set(re.findall(r"\w+", PAGES[page]))
    aliases = {n.lower() for n in re.sub(r"(?<=[a-z])(?=[A-Z])", "_", " ".join(said)).split()}
    assert sorted(found - SHARED - said - aliases) == []


def test_every_public_module_is_in_the_api() -> None:
    listed = re.findall(r"^   recurra\.(\w+)$", PAGES["api"], re.MULTILINE)
    found = {m.name for m in pkgutil.iter_modules(recurra.__path__) if not m.name.startswith("_")}
    assert sorted(listed) == sorted(found - INTERNAL)


def test_every_page_is_in_the_contents() -> None:
    (contents,) = re.findall(r"```\{toctree\}\n:hidden:\n\n(.*?)```", PAGES["index"], re.DOTALL)
    assert sorted(contents.split()) == sorted(PAGES.keys() - {"index"})


@pytest.fixture
def docstrings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docstrings", DOCS / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_in_the_style_of_the_house(docstrings: ModuleType) -> None:
    assert doctest.testmod(docstrings).failed == 0
    lines = [
        "A `weight_` (G*H, I) and *args, |x|; **bold** stays.",
        "",
        "* a list, of `T`s",
        "",
        "    h' = *tanh*",
        "",
        "    `c`",
        "",
        "Args:",
        "    x (B, T*D): `y` z_",
        "",
        "    z: more",
        "",
        "Example:",
        "    >>> 2 * 3  # `a` *b*",
        "    6",
    ]
    assert docstrings.converted(lines) == [
        r"A ``weight_`` (G\*H, I) and \*args, \|x\|; **bold** stays.",
        "",
        r"* a list, of ``T``\ s",
        "",
        "::",
        "",
        "    h' = *tanh*",
        "",
        "    `c`",
        "",
        "Args:",
        r"    x (B, T\*D): ``y`` z\_",
        "",
        "    z: more",
        "",
        "Example:",
        "    >>> 2 * 3  # `a` *b*",
        "    6",
    ]
