"""Tuning, choice and report of every method on one task, each stack kept as soon as it is finished."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import torch

from midas_core.compare.evaluation import accuracy, evaluate
from midas_core.compare.methods import BEST, find_method
from midas_core.compare.methods.base import Method
from midas_core.compare.store import Store
from midas_core.compare.training import Recipe, Setting, Trained, train
from midas_core.data import Task

SETTINGS = 9
"""Tried for every method: for one without a strength as many learning rates."""
TUNING_SEED = 1000
"""First seed of the tuning: other seeds than those that are reported. A multiple of any number of splits."""
TUNING_SEEDS = 4
"""On a task with one split; on one with more, a seed for each split."""
LARGEST_STACK = 2**30
"""Bytes of data in one stack; what has more is trained in several."""

MADE_BY = {"settings": SETTINGS, "tuning_seeds": TUNING_SEEDS}
"""Options that all stacks of a store share."""


class Source(Protocol):
    """Makes a task for a seed.

    Attributes
    ----------
    splits : int
        How many parts of the data are tested. Seeds that are equal modulo ``splits`` have the same test samples, so
        that nothing chosen with one of them has seen them.
    """

    @property
    def splits(self) -> int:
        """Return it."""

    def make(self, seed: int) -> Task:
        """Return the task of a seed."""


@dataclass(frozen=True)
class Cell:
    """Models that are trained as one stack.

    Attributes
    ----------
    task, method : str
    stage : {"tuning", "report"}
        Only the second looks at the test data.
    settings : tuple of Setting
    recipe : Recipe
    data : str
        Digest of the task of the first seed.
    """

    task: str
    method: str
    stage: str
    settings: tuple[Setting, ...]
    recipe: Recipe
    data: str

    @property
    def name(self) -> str:
        """File name in the store."""
        seeds = [setting.seed for setting in self.settings]
        method = re.sub(r"[^\w+-]+", "-", self.method.replace(" + ", "+")).strip("-")
        return f"{self.task}/{method}.{self.stage}.{min(seeds)}-{max(seeds)}"

    @property
    def work(self) -> float:
        """Epochs of single models, those of several modalities counted double."""
        return len(self.settings) * self.recipe.epochs * (1 if self.method.endswith(" alone") else 2)

    def as_dict(self) -> dict[str, Any]:
        """Return numbers, text and lists: what a kept cell must agree with."""
        content = asdict(self)
        content["settings"] = [list(setting) for setting in self.settings]
        content["recipe"]["learning_rates"] = list(self.recipe.learning_rates)
        return content


Finished = Callable[[Cell, float], None]
"""Told each cell that is finished, and how long it took; 0 seconds where it was finished before."""


Progress = Callable[[float, float, str], None]
"""Told how much work is done, of how much, and what has just been finished."""


def nothing(cell: Cell, seconds: float) -> None:
    """Heed nothing."""


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
        seed, *setting = run["setting"]
        of_split = scores.setdefault(int(seed) % splits, {})
        of_split.setdefault((setting[0], setting[1]), []).append(run["validation_accuracy"])
    return {split: max(values, key=lambda s: fmean(values[s])) for split, values in scores.items()}


@dataclass(frozen=True, eq=False)
class Plan:
    """One task of a comparison.

    Attributes
    ----------
    task : str
    source : Source
    methods : tuple of str
        Titles, "... alone" among them; the name of `BEST` trains nothing.
    recipe : Recipe
    seeds : int
        Reporting seeds: 0, 1 ...
    settings : dict of (learning rate, strength) by method
        Fixed ones: these methods are not tuned.
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

    @property
    def together(self) -> int:
        """Tasks whose data are held in one stack."""
        size = sum(x.nbytes for part in (self.first.training, self.first.validation) for x in part.inputs)
        return max(1, LARGEST_STACK // max(1, size))

    def cell(self, method: str, stage: str, settings: Sequence[Setting]) -> Cell:
        """Return models of this task as one stack."""
        return Cell(self.task, method, stage, tuple(settings), self.recipe, self._data)

    @cached_property
    def _data(self) -> str:
        return digest(self.first)

    @property
    def trained(self) -> tuple[str, ...]:
        """Titles of the methods that train something."""
        return tuple(title for title in self.methods if title != BEST)


def tuning_cells(plan: Plan) -> list[Cell]:
    """Return the cells that try every setting of every method, with all tuning seeds."""
    first, together = plan.first, plan.together
    seeds = range(TUNING_SEED, TUNING_SEED + (plan.source.splits if plan.source.splits > 1 else TUNING_SEEDS))
    return [
        plan.cell(title, "tuning", [Setting(seed, *setting) for setting in settings for seed in part])
        for title in plan.trained
        if title not in plan.settings
        for settings in [grid(find_method(title, first.modalities), plan.recipe.learning_rates)]
        for part in _parts(seeds, together)
    ]


def report_cells(plan: Plan, chosen: Mapping[str, Mapping[int, tuple[float, float]]]) -> list[Cell]:
    """Return the cells of the reporting seeds, with the setting that was chosen for each method and split."""
    return [
        plan.cell(title, "report", [Setting(seed, *chosen[title][seed % plan.source.splits]) for seed in part])
        for title in plan.trained
        for part in _parts(range(plan.seeds), plan.together)
    ]


def follower(progress: Progress | None, plans: Sequence[Plan]) -> Finished:
    """Return what tells ``progress`` of the work of finished cells; it is told of all the work at once."""
    if progress is None:
        return nothing
    total, done = sum(planned_work(plan) for plan in plans), 0.0
    progress(0.0, total, "")

    def finished(cell: Cell, seconds: float) -> None:
        nonlocal done
        done += cell.work
        progress(done, total, f"{cell.method}, {cell.stage}" if len(plans) == 1 else f"{cell.task}: {cell.method}")

    return finished


def planned_work(plan: Plan) -> float:
    """Return the work of all cells, see `Cell.work`."""
    return sum(cell.work for cell in _planned_cells(plan))


def _planned_cells(plan: Plan) -> list[Cell]:
    """Return all cells, those of the reporting seeds with settings that are not yet chosen."""
    unknown = {title: dict.fromkeys(range(plan.source.splits), (1.0, 1.0)) for title in plan.trained}
    return [*tuning_cells(plan), *report_cells(plan, unknown)]


def estimate_seconds(plan: Plan, store: Store, jobs: int = 1) -> float:
    """Return about how long it takes to train what the store lacks: three epochs of a stack of MIDAS are timed."""
    left = sum(cell.work for cell in _planned_cells(plan) if cell.name not in store)
    if not left:
        return 0.0
    settings = [Setting(seed, 1e-3, 1.0) for seed in range(min(SETTINGS, plan.together))]
    cell = replace(plan.cell("MIDAS", "tuning", settings), recipe=replace(plan.recipe, epochs=3))
    # The first time something is loaded and set up.
    runs = min((execute(cell, plan.source)[1]["runs"] for _ in range(2)), key=lambda runs: runs[0]["seconds"])
    return sum(run["seconds"] for run in runs) / cell.work * left / jobs


def run_plan(plan: Plan, store: Store, *, jobs: int = 1, finished: Finished = nothing) -> dict[str, Any]:
    """Train what the store lacks of a task, ``jobs`` stacks at a time by joblib, and return all runs and what it is."""
    first, splits = plan.first, plan.source.splits
    tuned: dict[str, list[Any]] = {}
    for cell, content in _finish(tuning_cells(plan), plan, store, jobs, finished):
        tuned.setdefault(cell.method, []).extend(content["runs"])
    chosen = {title: choose(runs, splits) for title, runs in tuned.items()}
    for title, (rate, strength) in plan.settings.items():
        chosen[title] = dict.fromkeys(range(splits), (rate, strength))
    runs: dict[str, list[Any]] = {}
    for cell, content in _finish(report_cells(plan, chosen), plan, store, jobs, finished):
        runs.setdefault(cell.method, []).extend(content["runs"])
    for kept in runs.values():
        kept.sort(key=lambda run: run["setting"][0])
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
    best = []
    for of_seed in zip(*(runs[title] for title in titles), strict=True):
        which = max(range(len(titles)), key=lambda i: of_seed[i]["validation_accuracy"])
        best.append({**of_seed[which], "method": titles[which]})
    return best


def digest(task: Task) -> str:
    """Return a number, as text, that tasks of other data do not have."""
    hashed = hashlib.blake2b(digest_size=8)
    for split in (task.training, task.validation, task.test):
        for x in split.inputs:
            hashed.update(x.tobytes())
        hashed.update(split.labels.tobytes())
    return hashed.hexdigest()


def _parts(seeds: range, together: int) -> list[range]:
    return [seeds[start : start + together] for start in range(0, len(seeds), together)]


def _finish(
    cells: Sequence[Cell], plan: Plan, store: Store, jobs: int, finished: Finished
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield every cell and its content, those of the store first."""
    from joblib import Parallel, delayed

    missing = []
    for cell in cells:
        content = store.read(cell.name, cell.as_dict())
        if content is None:
            missing.append(cell)
            continue
        finished(cell, 0.0)
        yield cell, content
    if not missing:
        return
    results = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(execute)(cell, plan.source, number) for number, cell in enumerate(missing)
    )
    for number, content, seconds in results:
        store.write(missing[number].name, missing[number].as_dict(), content)
        finished(missing[number], seconds)
        yield missing[number], content


def execute(cell: Cell, source: Source, number: int = 0) -> tuple[int, dict[str, Any], float]:
    """Train one cell; return its number, what is kept of it, and the seconds it took."""
    start = time.monotonic()
    torch.set_num_threads(1)
    tasks = {seed: source.make(seed) for seed in dict.fromkeys(setting.seed for setting in cell.settings)}
    method = find_method(cell.method, next(iter(tasks.values())).modalities)
    trained = train(tasks, method, cell.settings, cell.recipe)
    runs = [_run(cell, trained, tasks, k) for k in range(len(cell.settings))]
    return number, {"runs": runs}, time.monotonic() - start


def _run(cell: Cell, trained: Trained, tasks: Mapping[int, Task], k: int) -> dict[str, Any]:
    """Return what is kept of one model."""
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
