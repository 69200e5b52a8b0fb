"""The site: `python -m sphinx -W docs site`, from a clone, offline."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

# Keras takes one backend per process; which one makes no difference to its docstrings.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import latex2mathml.converter
import sphinx.ext.autosummary
from docutils import nodes

import midas_core

project = "midas_core"
author = "The midas_core developers"
release = version = midas_core.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx_reredirects",
]
root_doc = "index"
# The page of the comparison includes the methods.
exclude_patterns = ["neighbours.md", "generated/*.md", "gallery/*.py", "gallery/*.ipynb"]
templates_path = ["templates"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = True
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # The quick ones run; all of them do in the tests.
    "filename_pattern": r"(quickstart|numpy_training)\.py$",
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "download_all_examples": False,
    "min_reported_time": 600,
    "show_signature": False,
    "write_computation_times": False,
}
# A page of a name or of an example that is gone would stay.
for made in ("generated", "gallery"):
    shutil.rmtree(Path(__file__).with_name(made), ignore_errors=True)
autodoc_typehints = "none"
numpydoc_show_class_members = False
# Addresses of earlier versions of the site.
redirects = {
    "choosing": "do-i-need-it.html",
    "demo": "comparison.html",
    "early-fusion": "fusion.html",
    "faq": "tuning.html#questions",
    "gallery/first_ten_minutes": "quickstart.html",
    "getting-started": "gallery/quickstart.html",
    "glossary": "method.html#glossary",
    "is-it-imbalanced": "do-i-need-it.html",
    "neighbours": "comparison.html#neighbours",
    "pretrained": "trainers.html#vit-and-bert-in-a-custom-compute-loss",
    "releasing": "versioning.html",
    "report": "diagnostics.html#the-report",
    "paper-experiments": "comparison.html",
    "testing": "verify.html#what-is-tested",
    "training": "trainers.html",
}
# Docstrings name things of the library in single backticks.
default_role = "autolink"
# A summary ends with its first sentence, not at "(eq. 3)".
sphinx.ext.autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.",)
html_theme = "pydata_sphinx_theme"
html_title = "midas_core"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_center": [],
}
# Where the site is published it has a folder for each version; elsewhere there is nothing to switch to.
if site := os.environ.get("SITE_URL"):
    html_theme_options |= {
        "switcher": {"json_url": f"{site}/switcher.json", "version_match": os.environ["SITE_VERSION"]},
        "check_switcher": False,
        "navbar_end": ["version-switcher", "theme-switcher"],
    }
html_copy_source = False
# Every browser sets MathML by itself: no script, and nothing is fetched.
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
# All pages by their headings; the first page lists them itself.
html_sidebars = {"**": ["globaltoc.html"], "index": []}


def write_math(translator, node):
    """Write an equation as MathML."""
    if isinstance(node, nodes.math_block):
        equation = latex2mathml.converter.convert(node.astext(), display="block")
        translator.body.append(f'<div class="equation">{equation}</div>\n')
    else:
        translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def show_examples(app, name, source):
    """Lead links to the file of an example to its page in the gallery, and to a method to its section."""
    source[0] = re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](gallery/\1.rst)", source[0])
    source[0] = re.sub(r"\]\(neighbours\.md\)", "](comparison.md#neighbours)", source[0])


def setup(app):
    """Make both known to Sphinx."""
    app.connect("source-read", show_examples)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
