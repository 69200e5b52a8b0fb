"""The picture in the documentation is what the report looks like."""

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import picture
from tests.report.test_report import write_run


@pytest.mark.skipif(picture.find_browser() is None, reason="no browser that runs without a screen")
def test_a_picture_of_a_report(tmp_path):
    write_run(tmp_path / "runs" / "joint")
    write_run(tmp_path / "runs" / "midas", ignore=False)
    file = tmp_path / "report.png"
    result = CliRunner().invoke(picture.picture, [str(tmp_path / "runs"), str(file), "--height", "700"])
    assert result.exit_code == 0, result.output
    shown = Image.open(file)
    assert shown.size == (picture.WIDTH, 700)
    # Text and badges, not a page of one colour.
    assert len(shown.convert("RGB").getcolors(2**20)) > 50


def test_without_a_browser_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "BROWSERS", ("no-such-browser",))
    write_run(tmp_path / "joint")
    result = CliRunner().invoke(picture.picture, [str(tmp_path / "joint"), str(tmp_path / "report.png")])
    assert result.exit_code == 2
    assert "a browser is needed, one of no-such-browser" in result.output
