"""The tasks of the tables in the docs: natural data first, then tasks that were made imbalanced by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from midas_core.compare.comparison import known_methods
from midas_core.compare.reading import FeatureSet, read_features
from midas_core.compare.search import MADE_BY, Plan, Progress, follower, run_plan
from midas_core.compare.splitting import count_splits, make_task, split_samples
from midas_core.compare.store import Store
from midas_core.compare.training import Recipe
from midas_core.data import Task
from midas_core.data.av_digits import Recordings, av_digits, read_recordings
from midas_core.data.breast_cancer import breast_cancer
from midas_core.data.digits import halves, two_sensors, wide_left

SEEDS = 16
"""Reporting seeds of the tables."""


@dataclass(frozen=True)
class Features:
    """Task made of a file of features; see `midas_core.compare.search.Source`.

    Attributes
    ----------
    path : Path
    modalities : dict of tuples of names
        By modality, the arrays that are put side by side to make it.
    training, validation : int, optional
        How many samples to draw, where there are more.
    """

    path: Path
    modalities: Mapping[str, tuple[str, ...]]
    training: int | None = None
    validation: int | None = None

    @property
    def splits(self) -> int:
        """How many parts of the data are tested."""
        return count_splits(self._read())

    def make(self, seed: int) -> Task:
        """Return the task of a seed."""
        features = self._read()
        if self.training is None and self.validation is None:
            return make_task(features, seed)
        parts = list(split_samples(features, seed))
        rng = np.random.default_rng([seed, 3])
        for number, size in enumerate((self.training, self.validation)):
            parts[number] = rng.permutation(parts[number])[:size]
        fold = np.repeat(np.arange(3), [len(part) for part in parts])
        return make_task(replace(features.select(np.concatenate(parts)), fold=fold, groups=None), seed)

    def _read(self) -> FeatureSet:
        features = _features(self.path)
        joined = {
            name: np.concatenate([features.inputs[array] for array in arrays], axis=1)
            for name, arrays in self.modalities.items()
        }
        return replace(features, inputs=joined)


@dataclass(frozen=True)
class Constructed:
    """Task that a function makes of a seed, always with the same test samples."""

    function: Callable[[int], Task]
    splits: int = 1

    def make(self, seed: int) -> Task:
        """Return the task of a seed."""
        return self.function(seed)


@lru_cache(maxsize=2)
def _features(path: Path) -> FeatureSet:
    return read_features(path)


@lru_cache(maxsize=1)
def _recordings(root: Path) -> Recordings:
    return read_recordings(root)


def _spoken_digits(root: Path, seed: int) -> Task:
    return av_digits(_recordings(root), seed)


@dataclass(frozen=True)
class SuiteTask:
    """A task of the tables.

    Attributes
    ----------
    title : str
    natural : bool
        Whether nothing was made imbalanced by hand.
    recipe : Recipe
    file : str
        Below the root, where the task needs one.
    make : callable
        From the path of the file to a source.
    """

    title: str
    natural: bool
    recipe: Recipe
    file: str
    make: Callable[[Path], Features | Constructed]


def _of(
    file: str, title: str, epochs: int, modalities: Mapping[str, tuple[str, ...]], training: int | None = None
) -> SuiteTask:
    def make(path: Path) -> Features:
        return Features(path, modalities, training, None if training is None else 1000)

    return SuiteTask(title, True, Recipe(epochs), f"natural/{file}.npz", make)


def _constructed(function: Callable[[int], Task], title: str, epochs: int = 120) -> SuiteTask:
    return SuiteTask(title, False, Recipe(epochs), "", lambda path: Constructed(function))


def _each(*arrays: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in arrays}


_WATCH = {"phone": ("accel_phone", "gyro_phone"), "watch": ("accel_watch", "gyro_watch")}
_SENSORS = _each(*_WATCH["phone"], *_WATCH["watch"])

TASKS: Mapping[str, SuiteTask] = {
    "utd-inertial-depth": _of(
        "utd_mhad", "27 actions, unseen people: inertial sensor, depth", 120, _each("inertial", "depth")
    ),
    "utd-skeleton-inertial": _of(
        "utd_mhad", "27 actions, unseen people: skeleton, inertial sensor", 120, _each("skeleton", "inertial")
    ),
    "utd-three": _of(
        "utd_mhad",
        "27 actions, unseen people: skeleton, inertial sensor, depth",
        120,
        _each("skeleton", "inertial", "depth"),
    ),
    "wikipedia": _of("wikipedia", "10 categories of articles: image, topics of the text", 30, _each("image", "text")),
    "wisdm-400": _of("wisdm", "18 activities, unseen people: phone, watch; 400 windows", 120, _WATCH, 400),
    "wisdm-1500": _of("wisdm", "18 activities, unseen people: phone, watch; 1,500 windows", 40, _WATCH, 1500),
    "wisdm-four": _of("wisdm", "18 activities, unseen people: four sensors; 3,000 windows", 25, _SENSORS, 3000),
    "wide-left": _constructed(wide_left, "digits: left half wide and noisy, right half clean"),
    "two-sensors": _constructed(two_sensors, "digits: a coarse clean and a fine noisy sensor"),
    "halves": _constructed(halves, "digits: left half, right half"),
    "breast-cancer": _constructed(breast_cancer, "tumours: means, errors and worst values of ten measurements"),
    "spoken-digits": SuiteTask(
        "spoken and written digits, unseen speakers",
        False,
        Recipe(80),
        "fsdd",
        lambda root: Constructed(partial(_spoken_digits, root)),
    ),
}
"""By name, in the order of the tables."""


def run_suite(
    output: Path,
    root: Path | None = None,
    *,
    tasks: Sequence[str] | None = None,
    methods: str | Sequence[str] = "all",
    seeds: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare the methods on the tasks of the tables, and return the results.

    Parameters
    ----------
    output : Path
        Folder of what is finished.
    root : Path, optional
        Folder that holds ``natural/*.npz`` and ``fsdd/recordings``; without one, tasks that need it are left out.
    tasks : sequence of str, optional
        Names in `TASKS`.
    methods, jobs, progress
        See `midas_core.compare.comparison.compare_methods`.
    seeds : int, optional
        Reporting seeds, rounded down to as many for each split; 16 if omitted.

    Returns
    -------
    dict
        By task what `midas_core.compare.result.MethodComparison` takes. `midas_core.compare.tables.kept` shortens it.
    """
    store, plans = Store(output, MADE_BY), []
    for name in tasks or TASKS:
        task = TASKS[name]
        if task.file and root is None:
            continue
        source = task.make((root or Path()) / task.file)
        titles = known_methods(methods, source.make(0).modalities)
        count = max((seeds or SEEDS) // source.splits, 1) * source.splits
        plans.append(Plan(name, source, titles, task.recipe, count, {}))
    follow = follower(progress, plans)
    return {
        plan.task: {
            "title": TASKS[plan.task].title,
            "natural": TASKS[plan.task].natural,
            **run_plan(plan, store, jobs=jobs, finished=follow),
        }
        for plan in plans
    }
