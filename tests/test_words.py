"""Plain English in docs, docstrings and messages: phrases of a dialect stay out."""

import ast
import re
from pathlib import Path

import pytest

import midas_core

ROOT = Path(__file__).parents[1]
PACKAGE = Path(midas_core.__file__).parent

PHRASES = [
    r"\b(that|those) of\b",
    r"\bone's own\b",
    r"\banother thing than\b",
    r"\bless MIDAS\b",
    r"\bnobody (looks|has|is)\b",
    r"\bseveral labels for each sample\b",
    r"\b(is|are) taken for\b",
    r"\bsays? (nothing|so) of\b",
    r"\bhas heard\b",
    r"\bonce more\b",
    r"\bat hand\b",
    r"\bspeaks? for\b",
    r"\bstands? in the place\b",
    r"\bis no (array|number|list|part)\b",
]
DIALECT = re.compile("|".join(PHRASES), re.IGNORECASE)
OPENINGS = ("What ", "That of ", "Those of ", "That which ")
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def texts_of(path: Path) -> list[str]:
    """Return docstrings, messages and comments of a module."""
    source = path.read_text(encoding="utf-8")
    strings = [x.value for x in ast.walk(ast.parse(source)) if isinstance(x, ast.Constant) and isinstance(x.value, str)]
    return strings + re.findall(r"^\s*# (.*)", source, re.MULTILINE)


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_begin_with_a_noun_or_a_verb(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    docstrings = [x.value.value for x in nodes if isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant)]
    for text in filter(lambda value: isinstance(value, str), docstrings):
        entries = re.findall(r"^ +\*{0,2}\w+(?:, \w+)* :.*\n +(.*)", text, re.MULTILINE)
        assert not [line for line in (text, *entries) if line.startswith(OPENINGS)], text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages(path):
    text = plain(re.sub(r"```.*?```|<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    uses = [text[max(0, m.start() - 60) : m.end() + 30] for m in DIALECT.finditer(text)]
    assert not uses, "\n".join(uses)


def test_modules():
    uses = {path: [m[0] for text in texts_of(path) for m in DIALECT.finditer(plain(text))] for path in MODULES}
    found = [f"{path.relative_to(PACKAGE)}: {words}" for path, words in uses.items() if words]
    assert not found, "\n".join(found)


def test_names_say_what_they_hold():
    sources = [path.read_text(encoding="utf-8") for path in MODULES]
    assert sum(len(re.findall(r"\bfound\b", source)) for source in sources) < 60
