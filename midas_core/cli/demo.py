"""The command ``midas demo``. What is heavy is imported when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from midas_core.cli._common import make_console
from midas_core.cli._comparison import FOLDER, JOBS, JSON, comparing, following, show, tell


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each method.")
@click.option(
    "--output",
    type=FOLDER,
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for results.json, figures, reports and what is finished.",
)
@JSON
@JOBS
@click.pass_context
def demo(context: click.Context, /, seeds: int, output: Path, json_file: Path | None, jobs: int) -> None:
    """Compare the methods on handwritten digits, in about a minute: midas compare, on data that are built in.

    Two tasks: the left and the right half of a digit, where nothing is wrong, and the same with the left half enlarged
    and noisy, which joint training memorises. Learning rates and strengths were searched before. What is finished is
    kept: the same command goes on.
    """
    with comparing(context, output, json_file):
        from midas_core.compare.demo import run_demo
        from midas_core.compare.suite import TASKS

        out = make_console()
        with following(make_console(stderr=True)) as follow:
            results = run_demo(output, seeds=seeds, jobs=jobs, progress=follow)
        for name, result in results.items():
            out.rule(f"{name}: {TASKS[name].title}", align="left", style="dim")
            show(result, output / name, out)
        tell(out, ["", "The same on your own data: midas compare --help"])
