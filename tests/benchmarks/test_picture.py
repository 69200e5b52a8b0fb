"""The picture in the documentation is what the report looks like."""

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import picture
from midas_core.report import write_report
from tests.report.test_report import write_run


@pytest.mark.skipif(picture.find_browser() is None, reason="no browser that runs without a screen")
def test_a_picture_of_a_report(tmp_path):
    page = write_report(
        [write_run(tmp_path / "joint"), write_run(tmp_path / "midas", ignore=False)], tmp_path / "x.html"
    )
    file = tmp_path / "report.png"
    result = CliRunner().invoke(picture.picture, [str(page), str(file), "--height", "700"])
    assert result.exit_code == 0, result.output
    shown = Image.open(file)
    assert shown.size == (picture.WIDTH, 700)
    # Text and badges, not a page of one colour.
    assert len(shown.convert("RGB").getcolors(2**20)) > 50


def test_without_a_browser_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "BROWSERS", ("no-such-browser",))
    (tmp_path / "x.html").write_text("<p>x</p>")
    result = CliRunner().invoke(picture.picture, [str(tmp_path / "x.html"), str(tmp_path / "report.png")])
    assert result.exit_code == 2
    assert "a browser is needed, one of no-such-browser" in result.output
