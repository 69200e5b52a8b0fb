"""The picture of a report in the documentation, by a browser that shows nothing.

``python -m benchmarks.picture runs/demo/av-clean docs/figures/report.png`` makes the report of a folder of runs and
takes a picture of its first part.
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
from midas_core.report import write_report
from midas_core.runs import RunError

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
@click.argument("runs", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--title", help="Heading of the page.")
@click.option("--height", type=click.IntRange(min=100), default=HEIGHT, show_default=True)
def picture(runs: Path, file: Path, title: str | None, height: int) -> None:
    """Take a picture of the report of RUNS, a run folder or a folder of them, into FILE."""
    with failing(RunError, OSError, RuntimeError), tempfile.TemporaryDirectory() as folder:
        if not file.suffix == ".png":
            raise Failure(f"file: expected a name that ends in .png, got {file}")
        check_writable(file)
        write_whole(file, take_picture(write_report([runs], Path(folder) / "report.html", title=title), height))


if __name__ == "__main__":
    picture(prog_name="python -m benchmarks.picture")
