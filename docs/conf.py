"""The site made of these pages: ``python -m sphinx -W docs build/site``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from aecompress import __version__

project, release = "aecompress", __version__
project_copyright = "the authors of aecompress, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]  # the list of pages, which index.md takes in
myst_heading_anchors = 4
default_role = "code"

# What is only needed to run the code, and not to document it, need not be installed.
autodoc_mock_imports = ["pyspark", "ray", "torch", "xarray", "zarr"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "aecompress"


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", quote_shapes)


def quote_shapes(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Shapes such as [n, *row_shape] as code: in docstrings they stand bare, and the star would begin emphasis."""
    lines[:] = [re.sub(r"(?<!`)\[[^]`]*\*[^]`]*\]", r"``\g<0>``", line) for line in lines]
