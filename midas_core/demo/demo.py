"""The demo from options to tables, figures and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from midas_core import __version__
from midas_core.demo.figure import draw_figure
from midas_core.demo.methods import FUSED, alone
from midas_core.demo.progress import follow_jobs
from midas_core.demo.report import report_task
from midas_core.demo.results import Kept, TaskResults, as_json, versions
from midas_core.demo.runner import Job
from midas_core.demo.settings import DEFAULT, SETTINGS, Settings
from midas_core.demo.summary import summarize
from midas_core.demo.table import HINTS, difference_tables, results_tables
from midas_core.demo.tasks import TASKS, Make, load
from midas_core.demo.training import Hyperparameters, MethodRun
from midas_core.demo.tune import best, tune, tuning_table
from midas_core.files import check_writable, write_json

KEPT = "finished.json"
"""In the folder of a task: every run that is finished."""


@dataclass(frozen=True)
class DemoOptions:
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
    resume : bool
        Whether jobs that an earlier call has finished in the output folder are taken over.
    """

    data: tuple[str, ...]
    root: Path | None
    seeds: int
    epochs: int | None
    workers: int
    output: Path
    json: Path | None
    framework: str = "torch"
    resume: bool = False


class InterruptedDemoError(Exception):
    """The user has stopped the demo. The message says what is kept."""


def run_demo(options: DemoOptions, out: Console, err: Console) -> None:
    """Train every method on every task; write numbers, figures and reports of a task, then print its tables.

    Parameters
    ----------
    options : DemoOptions
    out, err : Console
        For the results, and for the progress.

    Raises
    ------
    InterruptedDemoError
        On Ctrl-C. What was finished is in the folder.
    """
    _check_outputs(options)
    results: list[TaskResults] = []
    for name, make in _load(options, err).items():
        result = _train(name, make, options, err)
        results.append(result)
        lines = _write(result, options)
        for file in {options.output / "results.json", options.json} - {None}:
            write_json(file, as_json(results, _as_text(options)))  # type: ignore[arg-type]
        summary = summarize(result.runs, result.modalities)
        out.print()
        width, plain = out.width, out.options.ascii_only
        for table in (*results_tables(_title(result, options), summary, width, ascii_only=plain), HINTS):
            out.print(table, highlight=False)
        for table in difference_tables(summary, result.modalities, width, ascii_only=plain):
            out.print(table)
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    for file in {options.output / "results.json", options.json} - {None}:
        out.print(f"Every number of every seed: {file}", markup=False, highlight=False, soft_wrap=True)


def _check_outputs(options: DemoOptions) -> None:
    """Raise ``OSError`` where the results could not be written, before hours of work."""
    for name in options.data:
        check_writable(options.output / name / KEPT)
        check_writable(options.output / f"{name}.png")
    for file in {options.output / "results.json", options.json} - {None}:
        check_writable(file)  # type: ignore[arg-type]


def _train(name: str, make: Make, options: DemoOptions, err: Console) -> TaskResults:
    """Run the jobs of a task, and keep each as it ends."""
    jobs = [job for seed in range(options.seeds) for job in _jobs(name, make, seed, options)]
    task = jobs[0].task
    sizes = {split: len(getattr(task, split)) for split in ("training", "validation", "test")}
    result = TaskResults(name, TASKS[name].title, task.modalities, task.num_classes, sizes)
    root = None if options.root is None else str(options.root.resolve())
    kept = Kept(
        options.output / name / KEPT, {"framework": _framework(options), "root": root, "midas_core": __version__}
    )
    done: dict[int, list[MethodRun]] = {}
    if options.resume:
        earlier = kept.read()
        done = {i: runs for i, job in enumerate(jobs) if (runs := job.find(earlier)) is not None}
        if done:
            err.print(f"{name}: {len(done)} of {len(jobs)} jobs were done before", highlight=False)
    todo = [i for i in range(len(jobs)) if i not in done]

    def finished(index: int, runs: list[MethodRun]) -> None:
        done[todo[index]] = runs
        result.runs = [run for i in sorted(done) for run in done[i]]
        kept.write(result)

    result.runs = [run for i in sorted(done) for run in done[i]]
    try:
        follow_jobs([jobs[i] for i in todo], options.workers, err, finished)
    except KeyboardInterrupt:
        raise InterruptedDemoError(
            f"Stopped: {len(done)} of {len(jobs)} jobs of {name} are in {kept.file}; "
            "the same command with --resume goes on from there."
        ) from None
    return result


def _write(result: TaskResults, options: DemoOptions) -> list[str]:
    """Write figure, run folders and report of a task; return what to tell of them."""
    path = options.output / f"{result.name}.png"
    draw_figure(_title(result, options), result.modalities, result.runs, path)
    page, lines = report_task(result, options.output / result.name, _framework(options))
    return [f"Figure: {path}", *lines, f"Report of joint training and MIDAS: {page}"]


def run_tuning(options: DemoOptions, out: Console, err: Console) -> None:
    """Search learning rates and strengths for every method on every task; write what was found, and print it."""
    path = options.json or options.output / "tuning.json"
    check_writable(path)
    tasks: list[dict[str, Any]] = []
    for name, make in _load(options, err).items():
        settings = _settings(name, options)
        try:
            trials = tune(
                name,
                make,
                seeds=options.seeds,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                workers=options.workers,
                console=err,
            )
        except KeyboardInterrupt:
            raise InterruptedDemoError(f"Stopped: {len(tasks)} of {len(options.data)} tasks are in {path}.") from None
        tasks.append({"name": name, "best": best(trials), "trials": [trial._asdict() for trial in trials]})
        write_json(path, {"options": _as_text(options), "versions": versions(), "tasks": tasks})
        methods = (*alone(make(0).modalities), *FUSED)
        out.print(tuning_table(f"{name}: mean validation accuracy by learning rate", trials, methods))
        out.print(best(trials))
    out.print(f"Every number of every seed: {path}", markup=False, highlight=False, soft_wrap=True)


def _load(options: DemoOptions, console: Console) -> dict[str, Make]:
    with console.status("Reading the data"):
        return load(options.data, options.root)


def _settings(name: str, options: DemoOptions) -> Settings:
    settings = SETTINGS.get(name, Settings())
    epochs = settings.epochs if options.epochs is None else options.epochs
    return Settings(epochs, settings.batch_size, settings.tuned)


def _jobs(name: str, make: Make, seed: int, options: DemoOptions) -> list[Job]:
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


def _title(result: TaskResults, options: DemoOptions) -> str:
    sizes = result.sizes
    title = f"{result.name}: {result.title} ({sizes['training']} to train on, {sizes['test']} to test on)"
    return f"{title}, {_framework(options)}" if options.framework == "keras" else title


def _framework(options: DemoOptions) -> str:
    if options.framework == "torch":
        return "PyTorch"
    from midas_core.adapters.keras.backend import keras

    return f"Keras on {keras.backend.backend()}"


def _as_text(options: DemoOptions) -> dict[str, Any]:
    shown: dict[str, Any] = {"data": list(options.data), "seeds": options.seeds, "epochs": options.epochs}
    shown["framework"] = _framework(options)
    return {**shown, "root": None if options.root is None else str(options.root)}
