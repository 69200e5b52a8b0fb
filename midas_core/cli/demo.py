"""The command ``midas demo``. What is heavy is imported when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from midas_core.cli._common import make_console
from midas_core.cli._comparison import CORES, check_outputs, ending_early, following, require_all, show, tell


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each method.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for results.json, figures, reports and what is finished.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write results.json here too."
)
@click.option("--jobs", type=click.IntRange(min=1), default=CORES, help="Processes that train.  [default: all cores]")
@click.pass_context
def demo(
    context: click.Context,
    /,
    seeds: int,
    output: Path,
    json_file: Path | None,
    jobs: int,
) -> None:
    """Compare the methods on handwritten digits, in about two minutes: midas compare, on data that are built in.

    Two tasks: the left and the right half of a digit, where nothing is wrong, and the same with the left half enlarged
    and noisy, which joint training memorises. Learning rates and strengths were searched before. What is finished is
    kept: the same command goes on.
    """
    require_all()
    with ending_early(context, output):
        check_outputs(output, json_file)
        from midas_core.compare.demo import run_demo
        from midas_core.compare.suite import TASKS
        from midas_core.files import write_json

        out, err = make_console(), make_console(stderr=True)
        with following(err) as follow:
            results = run_demo(output, seeds=seeds, jobs=jobs, progress=follow)
        if json_file is not None:
            write_json(json_file, {name: result.content for name, result in results.items()})
        for name, result in results.items():
            out.rule(f"{name}: {TASKS[name].title}", align="left", style="dim")
            show(result, output / name, out)
        tell(out, ["", f"Every number: {output / 'results.json'}", "The same on your own data: midas compare --help"])
