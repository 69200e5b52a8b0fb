"""The page that describes the methods knows all of them, and what is tried."""

import re

from benchmarks.accuracy.methods import METHODS
from tests.pages import ROOT


def test_the_page_has_every_method_and_its_grid():
    page = (ROOT / "docs" / "neighbours.md").read_text(encoding="utf-8")
    table = page.partition("## At a glance")[2].partition('"Step"')[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    titles = [re.sub(r"^\[(.*)\]\(.*\)$", r"\1", row[0]) for row in rows]
    assert titles == list(METHODS)
    for title, row in zip(titles, rows, strict=True):
        assert tuple(map(float, re.findall(r"\d+(?:\.\d+)?", row[2]))) == METHODS[title].strengths
        assert (row[3] == "yes") == METHODS[title].trains_unimodal_heads
