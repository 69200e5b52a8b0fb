"""The README on a package index, its first example, and its first picture."""

import difflib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "figures" / "method.png"


def targets_of(page):
    """Return where links and pictures of a page lead: nothing on a package index answers a relative address."""
    return re.findall(r'(?:href|src)="([^"]+)"', page)


def test_it_renders_on_a_package_index():
    pytest.importorskip("hatch_fancy_pypi_readme")
    markdown = pytest.importorskip("readme_renderer.markdown")
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    page = markdown.render(text)
    assert page is not None
    assert "<table" in page
    targets = targets_of(page)
    assert targets
    assert all(x.startswith(("https://", "#")) for x in targets)


def test_what_a_repository_with_an_address_is_to_set():
    markdown = pytest.importorskip("readme_renderer.markdown")
    block = re.search(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    hook = tomllib.loads(block)["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    targets = targets_of(markdown.render(text))
    assert all(x.startswith(("https://", "#")) for x in targets)
    assert "https://github.com/OWNER/NAME/blob/HEAD/docs/figures/method.png?raw=true" in targets
    assert "https://github.com/OWNER/NAME/blob/HEAD/docs/pytorch.md" in targets


def test_it_has_two_screens_and_the_difference_between_the_examples():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 140
    before, after = ((ROOT / "examples" / f"{name}_loop.py").read_text().split('"""')[2] for name in ("plain", "midas"))
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-" and line[2:]]
    shown = re.search(r"```diff\n(.*?)```", text, re.DOTALL)[1].splitlines()
    assert sorted(line for line in shown if line[0] in "+-") == sorted(line[0] + line[2:] for line in lines)


def test_the_picture_of_the_method_is_what_its_script_draws(tmp_path):
    compare_images = pytest.importorskip("matplotlib.testing.compare").compare_images
    script, drawn = PICTURE.with_suffix(".py"), tmp_path / PICTURE.name
    subprocess.run([sys.executable, script, drawn], check=True)
    assert compare_images(PICTURE, drawn, tol=2) is None
