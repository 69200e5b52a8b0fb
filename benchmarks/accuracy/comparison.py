"""Runs a comparison, and puts together what its folder holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.accuracy.cells import LEARNING_RATES, SETTINGS
from benchmarks.accuracy.folder import RunFolder
from benchmarks.accuracy.methods import KNOWN
from benchmarks.accuracy.runner import Job, execute
from benchmarks.accuracy.tasks import TASKS
from benchmarks.results import machine, rounded
from midas_core import __version__
from midas_core.demo.runner import run_jobs
from midas_core.files import finite, package_versions, write_whole


@dataclass(frozen=True)
class Options:
    """What a comparison is asked for; see the command."""

    data: tuple[str, ...]
    methods: tuple[str, ...]
    root: Path | None
    seeds: int
    tuning_seeds: int
    epoch_factor: float
    jobs: int
    output: Path

    @property
    def made_by(self) -> dict[str, Any]:
        """What has to be the same for all runs of one folder."""
        return {
            "midas_core": __version__,
            "tuning_seeds": self.tuning_seeds,
            "epoch_factor": self.epoch_factor,
            "settings": SETTINGS,
            "learning_rates": list(LEARNING_RATES),
        }

    def plan(self) -> list[Job]:
        """Return the jobs, one for each task and method."""
        return [
            Job(
                data,
                method,
                self.root,
                self.output,
                self.made_by,
                self.seeds,
                self.tuning_seeds,
                max(1, round(TASKS[data].epochs * self.epoch_factor)),
                TASKS[data].batch_size,
            )
            for data in self.data
            for method in self.methods
        ]


def run_comparison(options: Options, console: Console) -> dict[str, Any]:
    """Train what the folder lacks, with a bar for what is done and the time left, and return the results.

    Raises
    ------
    midas_core.data.DataError, RunFolderError, OSError
        What is finished is kept.
    """
    folder, jobs = RunFolder(options.output, options.made_by), options.plan()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=console) as progress:
        bar = progress.add_task("", total=sum(job.work for job in jobs))
        done = 0

        def finished(index: int, _: None) -> None:
            nonlocal done
            done += 1
            progress.update(bar, description=f"{done} of {len(jobs)}: {jobs[index].data}, {jobs[index].method}")

        run_jobs(jobs, options.jobs, lambda _, epochs: progress.advance(bar, epochs), finished, execute)
    content = collect(options, folder, jobs)
    write_results(options.output / "results.json", content)
    return content


def write_results(path: Path, content: dict[str, Any]) -> None:
    """Write the results of a comparison, a task and method on one line."""
    text = json.dumps(finite(content), allow_nan=False).replace('{"learning_rate"', '\n{"learning_rate"')
    write_whole(path, text.encode() + b"\n")


def collect(options: Options, folder: RunFolder, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the results of finished jobs, without the history of their training."""
    tasks: dict[str, Any] = {}
    for job in jobs:
        tuned = folder.read(job.tuning)
        assert tuned is not None
        info = TASKS[job.data]
        about = {"title": info.title, **tuned["task"], "epochs": job.epochs, "batch_size": job.batch_size}
        task = tasks.setdefault(job.data, {**about, "methods": {}})
        cells = job.report(tuned)
        runs = [run for cell in cells for run in (folder.read(cell) or {})["runs"]]
        rate, strength = cells[0].settings[0][1:]
        method = KNOWN[job.method]
        task["methods"][job.method] = {
            "learning_rate": rate,
            "strength": {method.strength_name: strength} if method.strengths else None,
            # Test sets have a thousand samples at most.
            "runs": [rounded({name: x for name, x in run.items() if name != "history"}, 5) for run in runs],
        }
    return {
        "options": {**options.made_by, "seeds": options.seeds},
        "versions": {"midas_core": __version__, **package_versions("torch", "numpy", "scikit-learn")},
        "machine": machine("cpu"),
        "comparison": tasks,
    }
