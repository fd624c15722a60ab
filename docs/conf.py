"""Sphinx: MyST pages, furo, and the public names from their docstrings. Needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

import fastapi  # noqa: F401  autodoc would import it in a mode for type checkers, in which pydantic fails

import taskfold

sys.path.insert(0, str(Path(__file__).parent))

project = "Taskfold"
copyright = "the Taskfold authors"
version = release = taskfold.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "methods_index", "configuration_keys"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

highlight_language = "text"
default_role = "code"  # what docstrings put in single backticks

html_theme = "furo"
html_title = "Taskfold"
html_copy_source = False

autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
