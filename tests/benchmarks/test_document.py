"""The pages show what was recorded."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("torch")
document = runpy.run_path(str(ROOT / "benchmarks" / "document.py"))


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("docs/speed.md", "results-cpu.json"),
        ("docs/comparison.md", "robustness.json"),
        ("docs/comparison.md", "comparison.json"),
        ("docs/do-i-need-it.md", "comparison.json"),
        ("README.md", "comparison.json"),
    ],
)
def test_pages_show_the_recorded_results(page, file):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert document["fill"](text, ROOT / "benchmarks" / file) == text


def test_tables_take_the_place_of_older_ones():
    insert = document["insert"]
    text = "a\n<!-- x.json -->\nold\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n"
    assert (
        insert(text, "x.json", "new") == "a\n<!-- x.json -->\n\nnew\n<!-- end -->\nb\n<!-- y.json -->\n<!-- end -->\n"
    )
    with pytest.raises(SystemExit, match=r"z\.json"):
        insert(text, "z.json", "new")
