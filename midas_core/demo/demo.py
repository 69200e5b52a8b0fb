"""The demo from options to tables, figures and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from midas_core.demo.figure import draw_figure
from midas_core.demo.methods import FUSED, alone
from midas_core.demo.progress import follow_jobs
from midas_core.demo.report import report_task
from midas_core.demo.results import TaskResults, as_json, versions
from midas_core.demo.runner import Job
from midas_core.demo.settings import DEFAULT, SETTINGS, Settings
from midas_core.demo.summary import summarize
from midas_core.demo.table import difference_table, results_table
from midas_core.demo.tasks import TASKS, Make, load
from midas_core.demo.training import Hyperparameters
from midas_core.demo.tune import best, tune, tuning_table
from midas_core.runs.files import write_json


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes
    ----------
    data : tuple of str
        Names of tasks.
    root : Path or None
        Folder of the recordings.
    seeds : int
    epochs : int or None
        None takes each task's own.
    workers : int
    output : Path
    json : Path or None
    framework : {"torch", "keras"}
    """

    data: tuple[str, ...]
    root: Path | None
    seeds: int
    epochs: int | None
    workers: int
    output: Path
    json: Path | None
    framework: str = "torch"


def run_demo(options: Options, console: Console) -> None:
    """Train every method on every task, print the tables, write the figures and the numbers."""
    options.output.mkdir(parents=True, exist_ok=True)
    makers = _load(options, console)
    jobs: list[Job] = []
    for name, make in makers.items():
        for seed in range(options.seeds):
            jobs += _jobs(name, make, seed, options)
    found = follow_jobs(jobs, options.workers, console)
    results = []
    for name in makers:
        mine = [(job, runs) for job, runs in zip(jobs, found, strict=True) if job.name == name]
        task = mine[0][0].task
        sizes = {split: len(getattr(task, split)) for split in ("training", "validation", "test")}
        everything = [run for _, runs in mine for run in runs]
        results.append(TaskResults(name, TASKS[name].title, task.modalities, task.num_classes, sizes, everything))
    content = as_json(results, _as_text(options))
    for result in results:
        summary = summarize(result.runs, result.modalities)
        console.print()
        console.print(results_table(_title(result, options), summary))
        console.print(difference_table(summary, result.modalities))
        path = options.output / f"{result.name}.png"
        draw_figure(_title(result, options), result.modalities, result.runs, path)
        console.print(f"Figure: {path}")
        page, lines = report_task(result, options.output / result.name, _framework(options))
        for line in lines:
            console.print(line, markup=False, highlight=False)
        console.print(f"Report of joint training and MIDAS: {page}")
    for file in {options.output / "results.json", options.json} - {None}:
        write_json(file, content)  # type: ignore[arg-type]
        console.print(f"Every number of every seed: {file}")


def run_tuning(options: Options, console: Console) -> None:
    """Search learning rates and strengths for every method on every task; print and write what was found."""
    tasks = []
    for name, make in _load(options, console).items():
        settings = _settings(name, options)
        trials = tune(
            name,
            make,
            seeds=options.seeds,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            workers=options.workers,
            console=console,
        )
        methods = (*alone(make(0).modalities), *FUSED)
        console.print(tuning_table(f"{name}: mean validation accuracy by learning rate", trials, methods))
        console.print(best(trials))
        tasks.append({"name": name, "best": best(trials), "trials": [trial._asdict() for trial in trials]})
    content = {"options": _as_text(options), "versions": versions(), "tasks": tasks}
    path = options.json or options.output / "tuning.json"
    write_json(path, content)
    console.print(f"Every number of every seed: {path}")


def _load(options: Options, console: Console) -> dict[str, Make]:
    with console.status("Reading the data"):
        return load(options.data, options.root)


def _settings(name: str, options: Options) -> Settings:
    settings = SETTINGS.get(name, Settings())
    epochs = settings.epochs if options.epochs is None else options.epochs
    return Settings(epochs, settings.batch_size, settings.tuned)


def _jobs(name: str, make: Make, seed: int, options: Options) -> list[Job]:
    task = make(seed)
    settings = _settings(name, options)

    def hyperparameters(key: str) -> Hyperparameters:
        rate, strength = settings.tuned.get(key, DEFAULT)
        return Hyperparameters(rate, strength, settings.epochs, settings.batch_size)

    groups = [tuple(method.key for method in alone(task.modalities)), *((m.key,) for m in FUSED)]
    return [
        Job(
            name,
            task,
            seed,
            {key: hyperparameters(key) for key in group},
            framework=options.framework,
            diagnose=seed == 0,
        )
        for group in groups
    ]


def _title(result: TaskResults, options: Options) -> str:
    sizes = result.sizes
    title = f"{result.name}: {result.title} ({sizes['training']} to train on, {sizes['test']} to test on)"
    return f"{title}, {_framework(options)}" if options.framework == "keras" else title


def _framework(options: Options) -> str:
    if options.framework == "torch":
        return "PyTorch"
    from midas_core.adapters.keras.backend import keras

    return f"Keras on {keras.backend.backend()}"


def _as_text(options: Options) -> dict[str, Any]:
    shown: dict[str, Any] = {"data": list(options.data), "seeds": options.seeds, "epochs": options.epochs}
    shown["framework"] = _framework(options)
    return {**shown, "root": None if options.root is None else str(options.root)}
