"""Versions stand in one place, and the site lists those that it has."""

import json
import re
import runpy
from pathlib import Path

import midas_core

ROOT = Path(__file__).parents[1]


def test_the_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1] == midas_core.__version__


def test_the_site_opens_the_newest_version(tmp_path):
    for name in ("v0.9.0", "v0.10.0", "dev", "other"):
        (tmp_path / name).mkdir()
    runpy.run_path(ROOT / "docs" / "switcher.py")["write_switcher"](tmp_path, "https://example.org")
    entries = json.loads((tmp_path / "switcher.json").read_text())
    assert [entry["version"] for entry in entries] == ["v0.10.0", "v0.9.0", "dev"]
    assert [entry for entry in entries if entry.get("preferred")] == [entries[0]]
    assert entries[0]["url"] == "https://example.org/v0.10.0/"
    assert "url=v0.10.0/" in (tmp_path / "index.html").read_text()


def test_the_site_of_a_repository_without_a_release(tmp_path):
    (tmp_path / "dev").mkdir()
    runpy.run_path(ROOT / "docs" / "switcher.py")["write_switcher"](tmp_path, "https://example.org")
    assert "url=dev/" in (tmp_path / "index.html").read_text()
