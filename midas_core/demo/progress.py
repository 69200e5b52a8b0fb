"""Live progress of the jobs: one bar for each task and method."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from midas_core.demo.runner import Finished, Job, run_jobs


def follow_jobs(jobs: Sequence[Job], workers: int, console: Console, finished: Finished) -> None:
    """Run jobs and show how far they are; see `midas_core.demo.runner.run_jobs`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = {}
        for job in jobs:
            label = _label(job)
            if label not in bars:
                bars[label] = progress.add_task(label, total=0)
        totals = dict.fromkeys(bars, 0)
        for job in jobs:
            totals[_label(job)] += sum(h.epochs for h in job.methods.values())
        for label, total in totals.items():
            progress.update(bars[label], total=total)
        run_jobs(jobs, workers, lambda index, n: progress.advance(bars[_label(jobs[index])], n), finished)


def _label(job: Job) -> str:
    keys = list(job.methods)
    method = keys[0] if len(keys) == 1 else "each modality alone"
    return f"{job.name}: {method}"
