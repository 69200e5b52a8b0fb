"""The page on speed shows what was recorded."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPARISON = ROOT / "benchmarks" / "comparison.json"
RESULTS = sorted((ROOT / "benchmarks").glob("results-*.json"))

pytest.importorskip("torch")
document = runpy.run_path(str(ROOT / "benchmarks" / "document.py"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_the_page_on_speed_shows_the_recorded_results(path):
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    tables = document["render"](json.loads(path.read_text(encoding="utf-8")))
    assert document["insert"](text, path.name, tables) == text


def test_tables_take_the_place_of_older_ones():
    insert = document["insert"]
    text = "a\n<!-- x.json -->\nold\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n"
    assert (
        insert(text, "x.json", "new") == "a\n<!-- x.json -->\n\nnew\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n"
    )
    with pytest.raises(SystemExit, match=r"z\.json"):
        insert(text, "z.json", "new")


@pytest.mark.parametrize("page", ["docs/comparison.md", "docs/do-i-need-it.md", "README.md"])
def test_the_comparison_shows_the_recorded_results(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert document["insert_comparison"](text, json.loads(COMPARISON.read_text(encoding="utf-8"))) == text
