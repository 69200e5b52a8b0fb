"""The site: `python -m sphinx -W docs site`, from a clone, offline."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Keras takes one backend per process; which one makes no difference to its docstrings.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import midas_core

project = "midas_core"
author = "The midas_core developers"
release = version = midas_core.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
root_doc = "index"
exclude_patterns = ["generated/*.md"]
templates_path = ["templates"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Links to the code of the repository become downloads; they are not documents.
suppress_warnings = ["myst.xref_missing"]
autosummary_generate = True
# A page of a name that is gone would stay.
shutil.rmtree(Path(__file__).with_name("generated"), ignore_errors=True)
autodoc_typehints = "none"
numpydoc_show_class_members = False
# Docstrings name things of the library in single backticks.
default_role = "autolink"
html_theme = "pydata_sphinx_theme"
html_title = "midas_core"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 4,
}
# Built offline: nothing is fetched while building, and a page without network lacks only the typeset equations.
html_copy_source = False
# The reference has a list beside it; the other pages stand in the bar above.
html_sidebars = {"*": [], "generated/*": ["sidebar-nav-bs"]}
