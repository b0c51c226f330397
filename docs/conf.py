"""How Sphinx makes the site: `make docs`, then open build/docs/index.html."""

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
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
default_role = "py:obj"

# Pages that are being written.
suppress_warnings = ["toc.not_readable"]
