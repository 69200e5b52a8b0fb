"""Options, progress, early ends and results of ``midas compare`` and ``midas demo``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midas_core.cli._common import Failure, failing, make_console
from midas_core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from midas_core.compare.result import MethodComparison

FOLDER = click.Path(file_okay=False, path_type=Path)
JSON = click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write results.json here too."
)
JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    help="Processes that train.  [default: all cores]",
)
SETTLED = 1.0
"""Seconds in which work counts as finished before; the speed is taken from the next that is finished on."""
PACKAGES = {
    "torch": "PyTorch",
    "sklearn": "scikit-learn",
    "scipy": "SciPy",
    "statsmodels": "statsmodels",
    "joblib": "joblib",
    "matplotlib": "Matplotlib",
    "jinja2": "Jinja2",
    "rich": "Rich",
}
"""Of the extra, by the name of the module."""


@contextmanager
def comparing(context: click.Context, output: Path, json_file: Path | None) -> Iterator[None]:
    """Check places and packages, copy ``results.json`` at the end, and say in a sentence why it ended early."""
    from midas_core.backends import require

    with failing(ImportError):
        for module, package in PACKAGES.items():
            require(module, package, "compare")
    # Small models gain nothing by threads. PyTorch reads it when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from midas_core.compare.store import StoreError
    from midas_core.data import DataError
    from midas_core.files import check_writable, write_whole

    results = output / "results.json"
    again = f"the same command goes on with what is finished in {output}"
    try:
        with failing(DataError, StoreError, OSError):
            for path in (results, json_file):
                if path is not None:
                    check_writable(path)
            yield
            if json_file is not None:
                write_whole(json_file, results.read_bytes())
            tell(make_console(), [f"Every number: {results}"])
    except KeyboardInterrupt:
        click.echo(f"Stopped: {again}.", err=True)
        context.exit(130)
    except MemoryError as error:
        raise Failure(f"memory ran out: take fewer samples, fewer columns or --jobs 1; {again}") from error
    except BrokenExecutor as error:
        raise Failure(f"a worker process died, maybe for want of memory: try --jobs 1; {again}") from error


@contextmanager
def following(console: Console) -> Iterator[Callable[[float, float, str], None]]:
    """Yield a function that takes the work done, all the work, and what was finished: a bar with the time left."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, left="")
        start = time.monotonic()
        since, before = 0.0, 0.0

        def follow(done: float, total: float, what: str) -> None:
            nonlocal since, before
            seconds = time.monotonic() - start
            if since < SETTLED:
                since, before = seconds, done
            left = ""
            if before < done < total:
                left = duration((seconds - since) / (done - before) * (total - done)) + " left, "
            bar.update(task, completed=done, total=total, description=what, left=left)

        yield follow


def duration(seconds: float) -> str:
    """Return a time that is no more exact than it is known.

    Examples
    --------
    >>> [duration(x) for x in (8, 80, 800, 8000)]
    ['10 s', '1 min', '13 min', '2.2 h']
    """
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def tell(console: Console, lines: Iterable[str], style: str | None = None) -> None:
    """Print lines that may hold names of the user's."""
    for line in lines:
        console.print(printable(line, 2000), style=style, markup=False, highlight=False, soft_wrap=True)


def show(result: MethodComparison, output: Path, console: Console) -> None:
    """Print the answer, the table and what else is worth knowing; draw the figure and write the report."""
    answer, *more = result.sentences()
    tell(console, ["", answer, ""], "bold")
    console.print(result.table(), highlight=False)
    tell(console, more)
    output.mkdir(parents=True, exist_ok=True)
    result.plot().savefig(output / "accuracy.png", dpi=150, bbox_inches="tight")
    report = result.report(output / "report.html")
    tell(console, ["", f"Figure: {output / 'accuracy.png'}", f"Report: {report}"])
