"""Trains one method on one task: tuning, choice, report, each cell kept as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.accuracy.cells import Cell, best_setting, report_cells, tuning_cell
from benchmarks.accuracy.evaluation import evaluate, evaluate_vote, last_quarter
from benchmarks.accuracy.folder import RunFolder
from benchmarks.accuracy.methods import KNOWN
from benchmarks.accuracy.tasks import load
from benchmarks.accuracy.training import Trained, train
from midas_core.data import Task
from midas_core.demo.tasks import Make


@dataclass(frozen=True)
class Job:
    """What one worker does in one go.

    Attributes
    ----------
    data, method : str
    root : Path or None
        Of recordings.
    folder : Path
    made_by : dict
        See `RunFolder`.
    seeds, tuning_seeds : int
    epochs, batch_size : int
    """

    data: str
    method: str
    root: Path | None
    folder: Path
    made_by: Mapping[str, Any]
    seeds: int
    tuning_seeds: int
    epochs: int
    batch_size: int

    @property
    def work(self) -> int:
        """Epochs of single models."""
        return self.epochs * (len(self.tuning.settings) + self.seeds)

    @property
    def tuning(self) -> Cell:
        """The cell that chooses the setting."""
        return tuning_cell(self.data, KNOWN[self.method], self.tuning_seeds, self.epochs, self.batch_size)

    def report(self, tuned: Mapping[str, Any]) -> list[Cell]:
        """Return the cells of the reporting seeds, with the setting that the tuning chose."""
        setting = best_setting(tuned["runs"])
        return report_cells(self.data, self.method, setting, self.seeds, self.epochs, self.batch_size)


def execute(job: Job, report: Callable[[int], None]) -> None:
    """Finish the cells of a job that are not finished.

    Parameters
    ----------
    job : Job
    report : callable
        Told, now and then, how many epochs of single models have been done or were done before.
    """
    folder = RunFolder(job.folder, job.made_by)
    tuned = _finish(job, job.tuning, folder, report)
    for cell in job.report(tuned):
        _finish(job, cell, folder, report)


def _finish(job: Job, cell: Cell, folder: RunFolder, report: Callable[[int], None]) -> dict[str, Any]:
    found = folder.read(cell)
    if found is not None:
        report(cell.epochs * len(cell.settings))
        return found
    make = _make(job.data, job.root)
    tasks = {setting.seed: make(setting.seed) for setting in cell.settings}
    trained = train(
        tasks,
        KNOWN[cell.method],
        cell.settings,
        epochs=cell.epochs,
        batch_size=cell.batch_size,
        report=lambda epochs: report(epochs * len(cell.settings)),
    )
    content = {"runs": [_run(cell, trained, tasks, k) for k in range(len(cell.settings))], "task": _about(tasks)}
    folder.write(cell, content)
    return content


@lru_cache(maxsize=4)
def _make(data: str, root: Path | None) -> Make:
    return load((data,), root)[data]


def _about(tasks: Mapping[int, Task]) -> dict[str, Any]:
    task = next(iter(tasks.values()))
    sizes = {name: len(getattr(task, name)) for name in ("training", "validation", "test")}
    return {"modalities": list(task.modalities), "classes": task.num_classes, "sizes": sizes}


def _run(cell: Cell, trained: Trained, tasks: Mapping[int, Task], k: int) -> dict[str, Any]:
    """Return what is kept of one model."""
    setting = cell.settings[k]
    accuracy = [point[k] for point in trained.validation_accuracy]
    found: dict[str, Any] = {
        "setting": list(setting),
        "validation_accuracy": max(accuracy),
        "best_epoch": trained.best_epoch[k],
        "last_quarter": last_quarter(accuracy),
        "seconds": trained.seconds / len(cell.settings),
        "history": {
            "epoch": trained.epochs,
            "validation_accuracy": accuracy,
            "training_loss": [point[k] for point in trained.training_loss],
        },
    }
    if cell.stage == "report":
        task, method = tasks[setting.seed], trained.method
        for name, models in trained.models.items():
            found[name] = evaluate(method, models.select(k), task.test, task.modalities)
        if method.trains_unimodal_heads:
            best = trained.models["best"].select(k)
            found["vote"] = evaluate_vote(method, best, task.test, task.validation, task.modalities)
    return found
