"""The page on speed shows what was recorded."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks").glob("results-*.json"))
COMPARISONS = sorted((ROOT / "benchmarks" / "accuracy").glob("results*.json"))

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


def test_the_table_of_a_task_has_paired_differences_with_their_interval():
    accuracies = {"joint": [0.8, 0.82, 0.81], "MIDAS": [0.9, 0.93, 0.9]}
    column = {"accuracy": {"mean": 80.0, "sd": 1.0}, "last quarter": {"mean": 0.0, "sd": 0.1}, "seconds": None}
    task = {
        "sizes": {"training": 1, "validation": 2, "test": 3},
        "summary": dict.fromkeys(accuracies, column),
        "runs": [{"method": m, "test": {"accuracy": x}} for m, values in accuracies.items() for x in values],
    }
    # 10, 11 and 9 points: 10 +- 4.303 * 1 / sqrt(3).
    assert document["render_task"](task).rstrip().endswith("joint +10.0 (+7.5 to +12.5).")


@pytest.mark.parametrize("page", ["docs/comparison.md", "README.md"])
@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.name)
def test_the_comparison_shows_the_recorded_results(path, page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert document["insert_comparison"](text, path) == text
