"""The part of the command that is for the paper's data sets alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from midas_core.cli._common import failing, make_console

OWN = ("split", "damaged", "cache", "encoders", "workers")
NOT_FOR_THEM = ("tuning_seeds", "jobs")


def paper_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the paper's data sets to the command."""
    cache = click.Path(file_okay=False, path_type=Path)
    options = (
        click.option(
            "--split",
            type=click.Choice(["paper", "leak-free"]),
            default="paper",
            show_default=True,
            help="Paper's data sets: 70, 10 and 20 % of the samples, or of the actors, scenes, images.",
        ),
        click.option(
            "--damaged",
            type=click.Choice(["refuse", "skip"]),
            default="refuse",
            show_default=True,
            help="Paper's data sets: what to do about files that are damaged or missing. They are named either way.",
        ),
        click.option(
            "--cache",
            type=cache,
            default=Path("runs/cache"),
            show_default=True,
            help="Paper's data sets: folder for decoded files.",
        ),
        click.option(
            "--encoders",
            type=click.Choice(["paper", "tiny"]),
            default="paper",
            show_default=True,
            help="Paper's data sets: its encoders, or tiny ones that try a folder out.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=0),
            default=4,
            show_default=True,
            help="Paper's data sets: processes that load the data, for each that trains.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def check_kind(context: click.Context, data: Sequence[str], experiments: Sequence[str]) -> str | None:
    """Return the one data set of the paper that is asked for, None for small tasks.

    Raises
    ------
    click.UsageError
        If it is not alone, has no folder, or options of the other kind are given.
    """
    found = [name for name in data if name in experiments]
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    wrong = [name for name in (NOT_FOR_THEM if found else OWN) if name in given]
    if wrong:
        kind = "small tasks" if found else "the paper's data sets"
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} is for {kind}, got --data {', '.join(data) or 'none'}")
    if not found:
        return None
    if len(data) > 1:
        raise click.UsageError(f"--data {found[0]}: expected a data set of the paper alone, got {', '.join(data)}")
    if context.params["root"] is None:
        raise click.UsageError(f"--data {found[0]} needs --root FOLDER, the folder of the data set")
    return found[0]


def run(data: str, given: dict[str, Any], methods: Sequence[str], json_file: Path | None) -> None:
    """Run an experiment, without ``methods`` with all, print its tables, and write the results to a file too.

    Raises
    ------
    Failure
        If the folder, the files or the machine are not what is needed.
    """
    with failing(ImportError):
        from benchmarks.accuracy.comparison import write_results
        from benchmarks.accuracy.folder import RunFolderError
        from benchmarks.accuracy.paper_run import PAPER_METHODS, PaperOptions, run_paper
        from benchmarks.accuracy.tables import printed
        from midas_core.data import DataError
        from midas_core.files import check_writable
    for name in methods:
        if name not in PAPER_METHODS:
            raise click.UsageError(f"--methods: {name} is for small tasks, got --data {data}")
    options = PaperOptions(data=data, methods=tuple(methods) or PAPER_METHODS, **given)
    first = os.environ.get("RANK", "0") == "0"
    with failing(DataError, RunFolderError, ImportError, OSError):
        if json_file is not None:
            check_writable(json_file)
        content = run_paper(options, make_console(stderr=True))
        if json_file is not None and first:
            write_results(json_file, content)
    if first:
        for table in printed(content):
            make_console(160).print(table)
