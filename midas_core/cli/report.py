"""The command ``midas report``."""

from __future__ import annotations

from pathlib import Path

import click

from midas_core.cli._common import Failure


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN ...]")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page.  [default: report.html in the folder of the first run]",
)
@click.option("--title", help="Heading of the page.")
def report(runs: tuple[Path, ...], output: Path | None, title: str | None) -> None:
    """Say on one page whether a run ignores a modality, and compare others to it.

    RUN is a run folder, as RunLogger and midas demo write it. To compare MIDAS to joint training, name joint training
    first. The page needs no network and can be mailed.
    """
    from midas_core.report import headlines, write_report
    from midas_core.runs import RunError

    try:
        path = write_report(runs, output or runs[0] / "report.html", title=title)
        for line in headlines(runs):
            click.echo(line)
    except (RunError, ImportError, OSError) as error:
        raise Failure(str(error)) from error
    click.echo(f"Report: {path}")
