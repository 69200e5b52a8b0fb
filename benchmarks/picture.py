"""The picture of a report in the documentation, by a browser that shows nothing.

``python -m benchmarks.picture runs/demo/wide-left/report.html docs/figures/report.png --height 660`` takes a picture of
the first part of a page, here that of ``midas demo``.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from io import BytesIO
from pathlib import Path

import click
from PIL import Image

from midas_core.cli._common import Failure, failing
from midas_core.files import check_writable, write_whole

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, HEIGHT = 1040, 1400


def find_browser() -> str | None:
    """Return the path of a browser that runs without a screen, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def take_picture(page: Path, height: int = HEIGHT) -> bytes:
    """Return the first part of an HTML page as a PNG.

    Raises
    ------
    RuntimeError
        If there is no browser, or it makes no picture.
    """
    browser = find_browser()
    if browser is None:
        raise RuntimeError(f"a browser is needed, one of {', '.join(BROWSERS)}: none was found")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        what = [f"--window-size={WIDTH},{height}", f"--screenshot={target}", page.resolve().as_uri()]
        result = subprocess.run([browser, *options, *what], capture_output=True, text=True, check=False, timeout=120)
        if not target.exists():
            raise RuntimeError(f"{browser} made no picture: {result.stderr[-300:]}")
        # A palette takes a third of the space.
        small = BytesIO()
        Image.open(target).convert("RGB").quantize(128).save(small, format="PNG", optimize=True)
    return small.getvalue()


@click.command()
@click.argument("page", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--height", type=click.IntRange(min=100), default=HEIGHT, show_default=True)
def picture(page: Path, file: Path, height: int) -> None:
    """Take a picture of PAGE, the HTML page of a report, into FILE."""
    with failing(OSError, RuntimeError):
        if not file.suffix == ".png":
            raise Failure(f"file: expected a name that ends in .png, got {file}")
        check_writable(file)
        write_whole(file, take_picture(page, height))


if __name__ == "__main__":
    picture(prog_name="python -m benchmarks.picture")
