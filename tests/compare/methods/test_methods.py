"""The page that describes the methods knows all of them, and what is tried."""

import re

from midas_core.compare.methods import DEFAULT, METHODS
from tests.pages import ROOT


def test_the_page_has_every_method_and_its_grid():
    page = (ROOT / "docs" / "neighbours.md").read_text(encoding="utf-8")
    table = page.partition("## At a glance")[2].partition('"best of')[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    titles = [re.sub(r"^\[(.*)\]\(.*\)$", r"\1", row[0]) for row in rows]
    assert titles == list(METHODS)
    for title, row in zip(titles, rows, strict=True):
        assert tuple(map(float, re.findall(r"\d+(?:\.\d+)?", row[2]))) == METHODS[title].strengths
        assert (row[3] == "yes") == METHODS[title].trains_unimodal_heads


def test_titles_can_be_given_with_commas_between():
    assert not any("," in title for title in METHODS)
    assert set(DEFAULT) <= set(METHODS)
