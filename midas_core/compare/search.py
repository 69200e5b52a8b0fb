"""Tuning, choice and report of every method on a task, each stack kept as soon as it is finished."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import torch

from midas_core.compare.evaluation import accuracy, evaluate
from midas_core.compare.methods import BEST, find_method
from midas_core.compare.methods.base import Method
from midas_core.compare.store import Store
from midas_core.compare.training import Recipe, Setting, Trained, train
from midas_core.data import Split, Task

SETTINGS = 9
"""Tried for every method: for one without a strength as many learning rates."""
TUNING_SEED = 1000
"""First seed of the tuning: other seeds than those that are reported. A multiple of any number of splits."""
TUNING_SEEDS = 4
"""On a task with one split; on one with more, a seed for each split."""
TIMED_STEPS = 4
"""Steps of a stack that tell how long it will take."""
LARGEST_STACK = 2**30
"""Bytes of data in one stack; what has more is trained in several."""

MADE_BY = {"settings": SETTINGS, "tuning_seeds": TUNING_SEEDS}
"""Options that all stacks of a store share."""

Progress = Callable[[float, float, str], None]
"""Told how much work is done, of how much, and what has just been finished."""


@dataclass(frozen=True, eq=False)
class Source:
    """Tasks by seed, of ``splits`` parts of the data that are tested in turn.

    Seeds that are equal modulo ``splits`` have the same test samples, so that nothing chosen with one has seen them.
    """

    make: Callable[[int], Task]
    splits: int = 1


@dataclass(frozen=True)
class Cell:
    """Models that are trained as one stack: the tuning of a method, or its report, which alone sees the test data."""

    task: str
    method: str
    stage: str  # "tuning" or "report"
    settings: tuple[Setting, ...]
    recipe: Recipe
    data: str  # digest of the task of seed 0

    @property
    def name(self) -> str:
        """File name in the store."""
        seeds = [setting.seed for setting in self.settings]
        method = re.sub(r"[^\w+-]+", "-", self.method.replace(" + ", "+")).strip("-")
        return f"{self.task}/{method}.{self.stage}.{min(seeds)}-{max(seeds)}"

    @property
    def work(self) -> float:
        """Epochs of single models; several modalities count double."""
        return len(self.settings) * self.recipe.epochs * (1 if self.method.endswith(" alone") else 2)

    def as_dict(self) -> dict[str, Any]:
        """Return numbers, text and lists: what a kept cell must agree with."""
        content = asdict(self)
        content["settings"] = [list(setting) for setting in self.settings]
        content["recipe"]["learning_rates"] = list(self.recipe.learning_rates)
        return content


@dataclass(frozen=True, eq=False)
class Plan:
    """One task of a comparison: titles of methods, number of reporting seeds, settings of methods that are not tuned.

    The methods include each modality alone; the name of `BEST` trains nothing.
    """

    task: str
    source: Source
    methods: tuple[str, ...]
    recipe: Recipe
    seeds: int
    settings: Mapping[str, tuple[float, float]]

    @cached_property
    def first(self) -> Task:
        """The task of seed 0."""
        return self.source.make(0)

    @cached_property
    def seeds_together(self) -> int:
        """Seeds whose data are held in one stack."""
        size = sum(x.nbytes for part in (self.first.training, self.first.validation) for x in part.inputs)
        return max(1, LARGEST_STACK // max(1, size))

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Titles of the methods that train something."""
        return tuple(title for title in self.methods if title != BEST)

    def cell(self, method: str, stage: str, settings: Sequence[Setting]) -> Cell:
        """Return models of this task as one stack."""
        return Cell(self.task, method, stage, tuple(settings), self.recipe, self._data)

    @cached_property
    def _data(self) -> str:
        return digest(self.first)

    def tuning_cells(self) -> list[Cell]:
        """Return the cells that try every setting of every method, with all tuning seeds."""
        splits = self.source.splits
        return [
            self.cell(title, "tuning", [Setting(seed, *setting) for setting in settings for seed in seeds])
            for title in self.trained
            if title not in self.settings
            for settings in [grid(find_method(title, self.first.modalities), self.recipe.learning_rates)]
            for seeds in self._stacks(TUNING_SEED, splits if splits > 1 else TUNING_SEEDS)
        ]

    def report_cells(self, chosen: Mapping[str, Mapping[int, tuple[float, float]]]) -> list[Cell]:
        """Return the cells of the reporting seeds, with the setting that was chosen for each method and split."""
        return [
            self.cell(title, "report", [Setting(seed, *chosen[title][seed % self.source.splits]) for seed in seeds])
            for title in self.trained
            for seeds in self._stacks(0, self.seeds)
        ]

    def cells(self) -> list[Cell]:
        """Return all cells; the reporting seeds lack the settings, which are not yet chosen."""
        unknown = {title: dict.fromkeys(range(self.source.splits), (1.0, 1.0)) for title in self.trained}
        return [*self.tuning_cells(), *self.report_cells(unknown)]

    def _stacks(self, first: int, count: int) -> Iterator[range]:
        for start in range(first, first + count, self.seeds_together):
            yield range(start, min(start + self.seeds_together, first + count))


def grid(method: type[Method], learning_rates: tuple[float, float]) -> list[tuple[float, float]]:
    """Return the learning rates and strengths that are tried, `SETTINGS` of them for every method.

    Examples
    --------
    >>> from midas_core.compare.methods import METHODS
    >>> len(grid(METHODS["joint"], (5e-4, 2e-2))), len(grid(METHODS["MIDAS"], (5e-4, 2e-2)))
    (9, 9)
    """
    strengths = method.strengths or (1.0,)
    rates = np.geomspace(*learning_rates, SETTINGS // len(strengths))
    return [(float(f"{rate:.3g}"), strength) for strength in strengths for rate in rates]


def choose(runs: Sequence[Mapping[str, Any]], splits: int) -> dict[int, tuple[float, float]]:
    """Return learning rate and strength of the best mean validation accuracy, by split; of equal ones the first."""
    scores: dict[int, dict[tuple[float, float], list[float]]] = {}
    for run in runs:
        seed, rate, strength = run["setting"]
        of_split = scores.setdefault(int(seed) % splits, {})
        of_split.setdefault((rate, strength), []).append(run["validation_accuracy"])
    return {split: max(values, key=lambda s: fmean(values[s])) for split, values in scores.items()}


def estimate_seconds(plan: Plan, store: Store, jobs: int = 1) -> float:
    """Return about how long it takes to train what the store lacks, from a few timed steps of every kind of stack."""
    missing = [cell for cell in plan.cells() if cell.name not in store]
    seconds = {(cell.method, len(cell.settings)): math.inf for cell in missing}
    steps = -(-len(plan.first.training) // plan.recipe.batch_size) * plan.recipe.epochs
    size = min(TIMED_STEPS * plan.recipe.batch_size, len(plan.first.training))
    training = plan.first.training
    start = Split(tuple(x[:size] for x in training.inputs), training.labels[:size])
    task, recipe = replace(plan.first, training=start), replace(plan.recipe, epochs=1)
    for title, count in [*seconds, *seconds]:  # the first time something is loaded and set up
        settings = [Setting(seed, 1e-3, 1.0) for seed in range(count)]
        trained = train(dict.fromkeys(range(count), task), find_method(title, task.modalities), settings, recipe)
        seconds[title, count] = min(seconds[title, count], trained.seconds / -(-size // recipe.batch_size))
    return sum(seconds[cell.method, len(cell.settings)] for cell in missing) * steps / jobs


def run_plans(
    plans: Sequence[Plan], store: Store, *, jobs: int = 1, progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """Train what the store lacks, ``jobs`` stacks at a time by joblib; return by task all runs and its facts."""
    total, done = sum(cell.work for plan in plans for cell in plan.cells()), 0.0

    def finished(cell: Cell) -> None:
        nonlocal done
        done += cell.work
        if progress is not None:
            progress(done, total, f"{cell.method}, {cell.stage}" if len(plans) == 1 else f"{cell.task}: {cell.method}")

    if progress is not None:
        progress(0.0, total, "")
    return {plan.task: _run(plan, store, jobs, finished) for plan in plans}


def _run(plan: Plan, store: Store, jobs: int, finished: Callable[[Cell], None]) -> dict[str, Any]:
    first, splits = plan.first, plan.source.splits
    tuned = _finish(plan.tuning_cells(), plan, store, jobs, finished)
    chosen = {title: choose(runs, splits) for title, runs in tuned.items()}
    chosen |= {title: dict.fromkeys(range(splits), (float(r), float(s))) for title, (r, s) in plan.settings.items()}
    runs = _finish(plan.report_cells(chosen), plan, store, jobs, finished)
    if BEST in plan.methods:
        runs[BEST] = best_of(runs, ("joint", "MIDAS"))
    sizes = np.bincount(first.test.labels, minlength=first.num_classes)
    return {
        "modalities": list(first.modalities),
        "classes": first.num_classes,
        "chance": float(sizes.max() / sizes.sum()),
        "sizes": {name: len(getattr(first, name)) for name in ("training", "validation", "test")},
        "splits": splits,
        "recipe": {"epochs": plan.recipe.epochs, "batch_size": plan.recipe.batch_size},
        "methods": {title: runs[title] for title in plan.methods},
    }


def best_of(runs: Mapping[str, Sequence[Any]], titles: Sequence[str]) -> list[Any]:
    """Return for each seed the run of that method with the best validation accuracy; of equal ones the first."""
    return [
        max(
            ({**run, "method": title} for run, title in zip(of_seed, titles, strict=True)),
            key=lambda run: run["validation_accuracy"],
        )
        for of_seed in zip(*(runs[title] for title in titles), strict=True)
    ]


def digest(task: Task) -> str:
    """Return a number, as text, that tasks of other data do not have."""
    hashed = hashlib.blake2b(digest_size=8)
    for split in (task.training, task.validation, task.test):
        arrays: list[Any] = [*split.inputs, split.labels]
        for x in arrays:
            hashed.update(x.tobytes())
    return hashed.hexdigest()


def _finish(
    cells: Sequence[Cell], plan: Plan, store: Store, jobs: int, finished: Callable[[Cell], None]
) -> dict[str, list[Any]]:
    """Train the cells that the store lacks, and return the runs of all by method, in the order of the cells."""
    from joblib import Parallel, delayed

    missing = []
    for cell in cells:
        if store.read(cell.name, cell.as_dict()) is None:
            missing.append(cell)
        else:
            finished(cell)
    if missing:
        results = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(execute)(cell, plan.source, number) for number, cell in enumerate(missing)
        )
        for number, content in results:
            store.write(missing[number].name, missing[number].as_dict(), content)
            finished(missing[number])
    runs: dict[str, list[Any]] = {}
    for cell in cells:
        runs.setdefault(cell.method, []).extend(store.read(cell.name, cell.as_dict())["runs"])  # type: ignore[index]
    return runs


def execute(cell: Cell, source: Source, number: int = 0) -> tuple[int, dict[str, Any]]:
    """Train one cell; return its number, and the content to keep."""
    torch.set_num_threads(1)
    tasks = {seed: source.make(seed) for seed in dict.fromkeys(setting.seed for setting in cell.settings)}
    method = find_method(cell.method, next(iter(tasks.values())).modalities)
    trained = train(tasks, method, cell.settings, cell.recipe)
    return number, {"runs": [_describe(cell, trained, tasks, k) for k in range(len(cell.settings))]}


def _describe(cell: Cell, trained: Trained, tasks: Mapping[int, Task], k: int) -> dict[str, Any]:
    """Return the content to keep of one model."""
    setting = cell.settings[k]
    validation = [point[k] for point in trained.validation_accuracy]
    run: dict[str, Any] = {
        "setting": list(setting),
        "validation_accuracy": max(validation),
        "best_epoch": trained.best_epoch[k],
        "seconds": trained.seconds / len(cell.settings),
    }
    if cell.stage == "report":
        task = tasks[setting.seed]
        run["history"] = {
            "epoch": trained.epochs,
            "validation_accuracy": validation,
            "training_loss": [point[k] for point in trained.training_loss],
        }
        run["test"] = evaluate(trained.method, trained.best.select(k), task.test, task.modalities)
        run["last"] = accuracy(trained.method, trained.last.select(k), task.test)
    return run
