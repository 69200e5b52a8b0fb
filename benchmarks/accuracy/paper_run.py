"""Runs one of the paper's experiments: reads the folder, decodes it, trains every method with every seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.accuracy.checkpoint import Checkpoint
from benchmarks.accuracy.datasets.base import DataError, Listing
from benchmarks.accuracy.datasets.cache import Cache
from benchmarks.accuracy.datasets.preparing import describe, prepare
from benchmarks.accuracy.datasets.splits import Splits, split
from benchmarks.accuracy.encoders import SIZES, shrink
from benchmarks.accuracy.evaluation import evaluate, evaluate_vote, last_quarter
from benchmarks.accuracy.folder import RunFolder
from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.methods.base import Method
from benchmarks.accuracy.methods.midas import Midas
from benchmarks.accuracy.methods.mixup import InputMixUp
from benchmarks.accuracy.paper import BATCH_SIZE, ETA, EXPERIMENTS, Experiment
from benchmarks.accuracy.paper_training import Plan, Trained, Training
from benchmarks.results import machine
from midas_core import __version__
from midas_core.files import package_versions, write_json

PAPER_METHODS = tuple(name for name in METHODS if name != InputMixUp.title)
"""All but the one that mixes inputs: files and texts are no numbers."""


@dataclass(frozen=True)
class PaperOptions:
    """What an experiment is asked for; see the command.

    Attributes
    ----------
    data : str
    root : Path
    methods : tuple of str
    seeds : int
    epoch_factor : float
    output : Path
    split : {"paper", "leak-free"}
    damaged : {"refuse", "skip"}
    cache : Path
    encoders : {"paper", "tiny"}
    workers : int
    """

    data: str
    root: Path
    methods: tuple[str, ...]
    seeds: int
    epoch_factor: float
    output: Path
    split: str
    damaged: str
    cache: Path
    encoders: str
    workers: int

    @property
    def experiment(self) -> Experiment:
        """Return the row of the table."""
        return EXPERIMENTS[self.data]

    @property
    def made_by(self) -> dict[str, Any]:
        """What has to be the same for all runs of one folder."""
        return {
            "midas_core": __version__,
            "paper experiment": self.data,
            "split": self.split,
            "encoders": self.encoders,
            "epoch_factor": self.epoch_factor,
        }

    def plan(self, method: str, seed: int) -> Plan:
        """Return how a method is trained: MIDAS as the paper says, another at the middle of its strengths."""
        experiment, strengths = self.experiment, METHODS[method].strengths
        middle = strengths[len(strengths) // 2] if strengths else 1.0
        epochs, step = (max(1, round(x * self.epoch_factor)) for x in (experiment.epochs, experiment.step))
        return Plan(
            seed=seed,
            strength=experiment.weight if issubclass(METHODS[method], Midas) else middle,
            learning_rate=experiment.learning_rate,
            epochs=epochs,
            step=step,
            batch_size=BATCH_SIZE,
            pretrained=experiment.pretrained,
            size=SIZES[self.encoders],
            workers=self.workers,
        )

    def make(self, method: str) -> Callable[..., Method]:
        """Return what makes the method."""
        kind = METHODS[method]
        if issubclass(kind, Midas):
            warmup = round(self.experiment.warmup_epochs * self.epoch_factor)
            return partial(kind, warmup_epochs=warmup, eta=ETA)
        return kind


@dataclass(frozen=True)
class PaperCell:
    """One run of an experiment, finished as a whole or not at all."""

    data: str
    method: str
    plan: Plan
    sizes: list[int]

    @property
    def file_name(self) -> str:
        """Where the folder keeps it."""
        return f"{self.data}/{self.method.replace(' + ', '+').replace(' ', '-')}.{self.plan.seed}.json"

    def as_dict(self) -> dict[str, Any]:
        """Return numbers and text: what a kept run must agree with."""
        plan = self.plan
        return {
            "data": self.data,
            "method": self.method,
            "seed": plan.seed,
            "strength": plan.strength,
            "learning_rate": plan.learning_rate,
            "epochs": plan.epochs,
            "step": plan.step,
            "batch_size": plan.batch_size,
            "sizes": self.sizes,
        }


def run_paper(options: PaperOptions, console: Console) -> dict[str, Any]:
    """Train what the folder lacks and return the results; in a distributed run every process does its share.

    Raises
    ------
    midas_core.data.DataError, RunFolderError, OSError
        What is finished is kept.
    """
    accelerator = make_accelerator()
    main = accelerator.is_main_process
    with accelerator.main_process_first():
        session = Session(options, accelerator, console if main else Console(quiet=True))
    if main:
        write_json(options.output / "problems.json", [problem._asdict() for problem in session.listing.problems])
    methods: dict[str, list[Any]] = {name: [] for name in options.methods}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("left"), console=console, disable=not main) as progress:
        epochs = options.plan(options.methods[0], 0).epochs
        bar = progress.add_task("", total=epochs * options.seeds * len(methods))
        for seed in range(options.seeds):
            splits = split(session.listing, options.split, seed)
            for name in methods:
                progress.update(bar, description=f"{options.data}, {name}, seed {seed}")
                methods[name].append(session.run(name, seed, splits, lambda: progress.advance(bar)))
    content = _content(options, methods, session.listing, splits)
    if main:
        write_json(options.output / "results.json", content)
    return content


def make_accelerator() -> Any:
    """Return what places models and data, on a GPU where there is one, and joins the processes of ``torchrun``.

    Raises
    ------
    midas_core.data.DataError
        If a batch cannot be shared equally.
    """
    from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs

    accelerator = Accelerator(
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        # No method uses all heads in all epochs.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if BATCH_SIZE % accelerator.num_processes:
        raise DataError(f"processes: expected a divisor of the batch of {BATCH_SIZE}, got {accelerator.num_processes}")
    return accelerator


class Session:
    """A data set that was read and decoded, and the folder of its runs.

    Parameters
    ----------
    options : PaperOptions
    accelerator : accelerate.Accelerator
    console : Console
        Told what is skipped.

    Raises
    ------
    midas_core.data.DataError
        If the layout is another, or something is damaged and to be refused.
    RunFolderError
        If the folder holds other runs.
    """

    def __init__(self, options: PaperOptions, accelerator: Any, console: Console) -> None:
        self.options, self.accelerator = options, accelerator
        self.folder, self.cache = RunFolder(options.output, options.made_by), Cache(options.cache)
        self.decoders = shrink(options.experiment.decoders, SIZES[options.encoders])
        self.listing = self._read(console)

    def _read(self, console: Console) -> Listing:
        listing = self.options.experiment.read(self.options.root)
        with Progress(console=console) as progress:
            bar = progress.add_task("decoding", total=None)
            kept = prepare(
                listing,
                self.decoders,
                self.cache,
                damaged=self.options.damaged,
                jobs=max(1, self.options.workers),
                report=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        if kept.problems:
            console.print(f"Skipped, {len(kept.problems)} problems: {describe(kept.problems)}", markup=False)
        if kept.note:
            console.print(kept.note, markup=False)
        found, classes = len(kept.classes), self.options.experiment.classes
        if found != classes:
            console.print(f"{found} classes; the paper has {classes}", markup=False)
        return kept

    def run(self, method: str, seed: int, splits: Splits, report: Callable[[], None]) -> dict[str, Any]:
        """Return a run, trained unless the folder has it; ``report`` is called for every epoch."""
        plan = self.options.plan(method, seed)
        cell = PaperCell(self.options.data, method, plan, [len(part) for part in splits])
        found = self.folder.read(cell)
        # Nobody may find what another has just written.
        self.accelerator.wait_for_everyone()
        if found is not None:
            for _ in range(plan.epochs):
                report()
            kept: dict[str, Any] = found["run"]
            return kept
        given = (splits, self.decoders, len(self.listing.classes), self.cache, self.options.make(method), plan)
        place = (self.folder.path / "checkpoints" / cell.file_name).with_suffix(".pt")
        checkpoint = Checkpoint(place, cell.as_dict())
        run = _run(Training(*given, self.accelerator).run(checkpoint, report), plan, tuple(self.decoders))
        if self.accelerator.is_main_process:
            self.folder.write(cell, {"run": run})
            checkpoint.remove()
        return run


def _run(trained: Trained, plan: Plan, modalities: tuple[str, ...]) -> dict[str, Any]:
    """Return what is kept of a run, as of the small tasks."""
    method, history = trained.method, trained.history
    found: dict[str, Any] = {
        "setting": [plan.seed, plan.learning_rate, plan.strength],
        "validation_accuracy": max(history.validation_accuracy),
        "best_epoch": history.best_epoch,
        "last_quarter": last_quarter(history.validation_accuracy),
        "seconds": history.seconds,
        "history": {
            "validation_accuracy": history.validation_accuracy,
            "training_loss": history.training_loss,
        },
    }
    for name, seen in trained.seen.items():
        found[name] = evaluate(method, seen.heads, seen.test, modalities)
    if method.trains_unimodal_heads:
        best = trained.seen["best"]
        found["vote"] = evaluate_vote(method, best.heads, best.test, best.validation, modalities)
    return found


def _content(
    options: PaperOptions, methods: Mapping[str, list[Any]], listing: Listing, splits: Splits
) -> dict[str, Any]:
    """Return the results in the form of a comparison with one task."""
    plan = options.plan("MIDAS", 0)
    sizes = {"training": len(splits.training), "validation": len(splits.validation), "test": len(splits.test)}
    task: dict[str, Any] = {
        "title": options.experiment.title,
        "modalities": list(options.experiment.decoders),
        "classes": len(listing.classes),
        "sizes": sizes,
        "problems": len(listing.problems),
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "methods": {},
    }
    for name, runs in methods.items():
        strength = options.plan(name, 0).strength
        task["methods"][name] = {
            "learning_rate": plan.learning_rate,
            "strength": {METHODS[name].strength_name: strength} if METHODS[name].strengths else None,
            "runs": [{key: value for key, value in run.items() if key != "history"} for run in runs],
        }
    return {
        "options": {**options.made_by, "seeds": options.seeds},
        "versions": {"midas_core": __version__, **package_versions("torch", "transformers", "accelerate", "av")},
        "machine": machine("cpu"),
        "comparison": {options.data: task},
    }
