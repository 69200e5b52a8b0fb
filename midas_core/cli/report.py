"""The command ``midas report``."""

from __future__ import annotations

from pathlib import Path

import click

from midas_core.cli._common import failing
from midas_core.text import printable


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN ...]")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the page.  [default: report.html in the first folder]",
)
@click.option("--title", help="Title of the page.")
@click.option(
    "--baseline",
    metavar="NAME",
    help="Run that the others are compared to.  [default: joint training, or the only run without MIDAS]",
)
def report(runs: tuple[Path, ...], output: Path | None, title: str | None, baseline: str | None) -> None:
    """Write a page that says whether a run ignores a modality, and what the other runs change about it.

    RUN is a run folder, as RunLogger, the callbacks and midas compare write it, or a folder of run folders. Several
    seeds of a method are averaged. It takes seconds; the page needs no network and can be mailed.

    Example: midas report runs/joint runs/midas -o report.html
    """
    from midas_core.backends import require
    from midas_core.runs import RunError

    with failing(ImportError, RunError, OSError):
        for module, package in (("jinja2", "Jinja2"), ("matplotlib", "Matplotlib"), ("sklearn", "scikit-learn")):
            require(module, package, "report")
        from midas_core.report.page import report_with_headlines

        path, lines = report_with_headlines(runs, output or runs[0] / "report.html", title=title, baseline=baseline)
        for line in lines:
            click.echo(printable(line, 2000))
        click.echo(f"Report: {printable(str(path), 2000)}")
