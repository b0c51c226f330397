"""How Sphinx makes the site: `make docs`, then open build/docs/index.html."""

import inspect
from typing import Any

import engineio

project = "python-engineio"
copyright = "its authors, MIT licence"
version = release = engineio.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
smartquotes = False
templates_path: list[str] = []

# Headings can be linked to as on GitHub: server.md#options.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
default_role = "py:obj"


def mark_parameters(*event: Any) -> None:
    """Let a docstring say `name: ...` of a parameter; Sphinx wants `:param name: ...`."""
    _, kind, _, documented, _, lines = event
    if kind in ("class", "method", "function"):
        parameters = inspect.signature(documented).parameters
        for number, line in enumerate(lines):
            if line.partition(": ")[0] in parameters:
                lines[number] = f":param {line}"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", mark_parameters)
