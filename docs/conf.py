"""How Sphinx makes the site: `make docs`, with every warning an error."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # docstrings.py

import recurra

project = "recurra"
author = "the recurra developers"
version = release = recurra.__version__
html_title = f"recurra {version}"

extensions = [
    "sphinx.ext.autodoc",
    "docstrings",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_parser",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}  # the latter: API pages, made
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
nitpicky = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "imported-members": True,  # of a package; docstrings.py leaves out what is not recurra's
    "inherited-members": "Module, tuple, object",
    "member-order": "bysource",
}
autodoc_typehints = "none"  # docstrings have the shapes, which say more
autodoc_preserve_defaults = True
autosummary_generate = True
autosummary_imported_members = True
napoleon_numpy_docstring = False
add_module_names = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """Links to a file of the repository that is a page here lead to the page."""
    app.connect("source-read", _to_pages)


def _to_pages(app: Any, name: str, source: list[str]) -> None:
    source[0] = source[0].replace("](../benches/README.md)", "](benchmarks.md)")
