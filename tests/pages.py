"""The code on the pages of the documentation, read and run by Sybil.

A block that runs elsewhere has a comment before it that says where, ``<!-- skip: next "reason" -->``. One that is
``"part of examples/NAME.py"`` is held to that file. ``keras_backend`` is the backend of this process, or None. What a
reader need not see stands in ``<!-- invisible-code-block: python ... -->``.
"""

import os
import re
from pathlib import Path
from unittest import SkipTest

from sybil import Document, Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def read_page(page: str | Path) -> Document:
    """Return a page, by its path from the root of the repository."""
    return Sybil([PythonCodeBlockParser(), SkipParser()]).parse(ROOT / page)


def blocks_of(page: str | Path) -> list[str]:
    """Return the blocks of Python code of a page, those that are skipped too."""
    return [str(example.parsed) for example in read_page(page).examples() if isinstance(example.parsed, str)]


def run_page(page: str | Path) -> dict:
    """Run a page from top to bottom; return its names. What is called part of an example has to be part of it."""
    document = read_page(page)
    document.namespace.update(__name__=Path(page).stem, keras_backend=os.environ.get("KERAS_BACKEND"))
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest as skipped:
            if source := re.fullmatch(r"part of (\S+)", str(skipped)):
                assert example.parsed in (ROOT / source[1]).read_text(encoding="utf-8"), f"{page}:{example.line}"
    return document.namespace
