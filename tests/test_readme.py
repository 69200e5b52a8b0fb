"""The README on a package index, and the picture that it begins with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "figures" / "method.png"


def test_it_renders_on_a_package_index():
    pytest.importorskip("hatch_fancy_pypi_readme")
    markdown = pytest.importorskip("readme_renderer.markdown")
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    page = markdown.render(text)
    assert page is not None
    assert "<table" in page
    targets = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert targets
    # Nothing there answers a relative address.
    assert [x for x in targets if not x.startswith(("https://", "#"))] == []


def test_the_picture_of_the_method_is_what_its_script_draws(tmp_path):
    compare_images = pytest.importorskip("matplotlib.testing.compare").compare_images
    script, drawn = PICTURE.with_suffix(".py"), tmp_path / PICTURE.name
    subprocess.run([sys.executable, script, drawn], check=True)
    assert compare_images(PICTURE, drawn, tol=2) is None
