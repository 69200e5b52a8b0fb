"""``python -m benchmarks.accuracy``: how accurate every method is. What is heavy is imported when it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

import click

from midas_core.cli._common import Failure, failing, make_console


@click.command()
@click.option(
    "--data",
    multiple=True,
    metavar="NAME",
    help="A task, may be given again.  [default: all tasks, those with --root too]",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of the spoken digits, with recordings/{digit}_{speaker}_{index}.wav in it, for av-clean and av-noisy.",
)
@click.option("--methods", metavar="A,B,...", help="By name, with commas between; see --list.")
@click.option("--seeds", type=click.IntRange(min=1), default=8, show_default=True, help="That are reported: 0, 1 ...")
@click.option(
    "--tuning-seeds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="On whose validation data learning rate and strength are chosen; other seeds than those that are reported.",
)
@click.option(
    "--epoch-factor",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Times the epochs of every task.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes that train.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/accuracy"),
    show_default=True,
    help="Folder for what is finished, results.json and the figures. Goes on with what is in it.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here too."
)
@click.option("--list", "listed", is_flag=True, help="Name the tasks and the methods, and do nothing.")
@click.pass_context
def accuracy(
    context: click.Context,
    /,
    data: tuple[str, ...],
    root: Path | None,
    methods: str | None,
    seeds: int,
    tuning_seeds: int,
    epoch_factor: float,
    jobs: int,
    output: Path,
    json_file: Path | None,
    listed: bool,
) -> None:
    """Compare MIDAS with its neighbours: the same models, splits, batches and tuning for every method.

    A comparison that was stopped goes on where it was: what is finished is kept in --output, and never done again.
    """
    with failing(ImportError):
        # Small models gain nothing by threads. PyTorch reads it when it is imported.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from benchmarks.accuracy.comparison import Options, run_comparison, write_results
        from benchmarks.accuracy.figures import write_figures
        from benchmarks.accuracy.folder import RunFolderError
        from benchmarks.accuracy.methods import KNOWN, METHODS
        from benchmarks.accuracy.tables import printed
        from benchmarks.accuracy.tasks import NEEDS_ROOT, TASKS
        from midas_core.data import DataError
        from midas_core.files import check_writable

    if listed:
        for name, info in TASKS.items():
            click.echo(f"{name:16} {info.title}")
        others = [name for name in KNOWN if name not in METHODS]
        click.echo("\n" + ", ".join(METHODS) + "\n\nby name alone: " + ", ".join(others))
        return
    data = _known("--data", data, TASKS)
    chosen = _known("--methods", methods.split(",") if methods else (), KNOWN)
    options = Options(
        data=data or tuple(name for name in TASKS if root or name not in NEEDS_ROOT),
        methods=chosen or tuple(METHODS),
        root=root,
        seeds=seeds,
        tuning_seeds=tuning_seeds,
        epoch_factor=epoch_factor,
        jobs=jobs,
        output=output,
    )
    needy = [name for name in options.data if name in NEEDS_ROOT]
    if needy and root is None:
        raise click.UsageError(
            f"--data {needy[0]} needs --root FOLDER, with recordings/{{digit}}_{{speaker}}_{{index}}.wav in it"
        )
    console = make_console(160)
    try:
        with _stopping(context, output), failing(DataError, RunFolderError, OSError):
            if json_file is not None:
                check_writable(json_file)
            content = run_comparison(options, make_console(stderr=True))
            if json_file is not None:
                write_results(json_file, content)
            write_figures(content, options.output)
    except BrokenExecutor as error:
        raise Failure(
            "a worker process died, maybe for want of memory: try --jobs 1, which goes on with what is finished"
        ) from error
    for table in printed(content):
        console.print(table)


@contextmanager
def _stopping(context: click.Context, output: Path) -> Iterator[None]:
    """Say how to go on when the command is stopped from the keyboard."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"Stopped. The same command goes on with what is finished in {output}.", err=True)
        context.exit(130)


def _known(option: str, given: Iterable[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names in the order of the tables, each once, or fail on one that is not known."""
    names = [name.strip() for name in given]
    for name in names:
        if name not in known:
            raise click.UsageError(f"{option}: expected one of {', '.join(known)}, got {name!r}")
    return tuple(name for name in known if name in names)


if __name__ == "__main__":
    accuracy(prog_name="python -m benchmarks.accuracy")
