"""Progress, early ends and results of ``midas compare`` and ``midas demo``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midas_core.cli._common import Failure, failing
from midas_core.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from midas_core.compare.result import MethodComparison

CORES = os.cpu_count() or 1
SETTLED = 1.0
"""Seconds in which work that is done counts as finished before: it tells no speed."""


def require_all() -> None:
    """Fail where a package of the extra is missing."""
    from midas_core.backends import require

    with failing(ImportError):
        for module, package in (
            ("torch", "PyTorch"),
            ("sklearn", "scikit-learn"),
            ("scipy", "SciPy"),
            ("statsmodels", "statsmodels"),
            ("joblib", "joblib"),
            ("matplotlib", "Matplotlib"),
            ("jinja2", "Jinja2"),
            ("rich", "Rich"),
        ):
            require(module, package, "compare")
    # Small models gain nothing by threads. PyTorch reads it when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@contextmanager
def ending_early(context: click.Context, output: Path) -> Iterator[None]:
    """Turn what ends a comparison early into a sentence and an exit status."""
    from midas_core.compare.store import StoreError
    from midas_core.data import DataError

    again = f"the same command goes on with what is finished in {output}"
    try:
        with failing(DataError, StoreError, OSError):
            yield
    except KeyboardInterrupt:
        click.echo(f"Stopped: {again}.", err=True)
        context.exit(130)
    except MemoryError as error:
        raise Failure(f"memory ran out: take fewer samples, fewer columns or --jobs 1; {again}") from error
    except BrokenExecutor as error:
        raise Failure(f"a worker process died, maybe for want of memory: try --jobs 1; {again}") from error


def check_outputs(output: Path, json_file: Path | None) -> None:
    """Raise ``OSError`` where the results could not be written, before the work that makes them."""
    from midas_core.files import check_writable

    for path in (output / "results.json", *([] if json_file is None else [json_file])):
        check_writable(path)


@contextmanager
def following(console: Console) -> Iterator[Callable[[float, float, str], None]]:
    """Yield a function that takes the work done, all the work, and what was finished: a bar with the time left."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None, left="")
        start, before = time.monotonic(), 0.0

        def follow(done: float, total: float, what: str) -> None:
            nonlocal before
            seconds = time.monotonic() - start
            before = done if seconds < SETTLED else before
            left = ""
            if before < done < total:
                left = duration(seconds / (done - before) * (total - done)) + " left, "
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


def tell(console: Console, lines: Iterable[str]) -> None:
    """Print lines that may hold names of the user's."""
    for line in lines:
        console.print(printable(line, 2000), markup=False, highlight=False, soft_wrap=True)


def show(result: MethodComparison, output: Path, console: Console) -> None:
    """Print the answer, the table and what else is worth knowing; draw the figure and write the report."""
    answer, *more = result.sentences()
    console.print()
    console.print(printable(answer, 2000), style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print()
    console.print(result.table(), highlight=False)
    tell(console, more)
    output.mkdir(parents=True, exist_ok=True)
    result.plot().savefig(output / "accuracy.png", dpi=150, bbox_inches="tight")
    report = result.report(output / "report.html")
    tell(console, ["", f"Figure: {output / 'accuracy.png'}", f"Report: {report}"])
