"""The tasks of the tables in the docs: natural data first, then tasks that were made imbalanced by hand."""

from __future__ import annotations

import operator
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial, reduce
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from midas_core import __version__
from midas_core.compare.comparison import known_methods
from midas_core.compare.reading import FeatureSet, read_features
from midas_core.compare.search import MADE_BY, Plan, Progress, Source, run_plans
from midas_core.compare.splitting import count_splits, make_task, split_samples
from midas_core.compare.store import Store
from midas_core.compare.training import Recipe
from midas_core.data import Task
from midas_core.data.av_digits import Recordings, av_digits, read_recordings
from midas_core.data.breast_cancer import breast_cancer
from midas_core.data.digits import halves, two_sensors, wide_left
from midas_core.files import package_versions, write_json

MEASURES = ("macro-F1", "calibration error", "misaligned accuracy", "vote")
SEEDS = 16
"""Reporting seeds of the tables."""
VALIDATION = 1000
"""Samples that validate, where a task draws its training samples."""


@dataclass(frozen=True)
class SuiteTask:
    """A task of the tables; ``open`` makes its source of the path of its file, where it needs one.

    A natural task is one in which nothing was made imbalanced by hand.
    """

    title: str
    natural: bool
    recipe: Recipe
    open: Callable[[Path], Source]
    file: str = ""  # below the root


Arrays = tuple[tuple[str, tuple[str, ...]], ...]
"""By modality, the arrays of a file that are put side by side to make it."""


@lru_cache(maxsize=2)
def _read(path: Path) -> FeatureSet:
    return read_features(path)


@lru_cache(maxsize=2)
def _join(path: Path, arrays: Arrays) -> FeatureSet:
    features = _read(path)
    inputs = {name: np.concatenate([features.inputs[part] for part in parts], axis=1) for name, parts in arrays}
    return replace(features, inputs=inputs)


def make_natural(path: Path, arrays: Arrays, training: int | None, seed: int) -> Task:
    """Return the task of a file of features, of at most so many training samples and `VALIDATION` that validate."""
    features = _join(path, arrays)
    if training is None:
        return make_task(features, seed)
    rng = np.random.default_rng([seed, 3])
    train, validate, test = split_samples(features, seed)
    parts = [rng.permutation(train)[:training], rng.permutation(validate)[:VALIDATION], test]
    fold = np.repeat(np.arange(3), [len(part) for part in parts])
    return make_task(replace(features.select(np.concatenate(parts)), fold=fold, groups=None), seed)


def _natural(file: str, title: str, epochs: int, *modalities: str, training: int | None = None) -> SuiteTask:
    """Return a task of a file; a modality is an array, or ``name=array+array``."""
    pairs = (modality.split("=") for modality in modalities)
    arrays = tuple((pair[0], tuple(pair[-1].split("+"))) for pair in pairs)

    def open_file(path: Path) -> Source:
        return Source(partial(make_natural, path, arrays, training), count_splits(_join(path, arrays)))

    return SuiteTask(title, True, Recipe(epochs), open_file, f"natural/{file}.npz")


def _constructed(function: Callable[[int], Task], title: str) -> SuiteTask:
    return SuiteTask(title, False, Recipe(120), lambda path: Source(function))


@lru_cache(maxsize=1)
def _recordings(root: Path) -> Recordings:
    return read_recordings(root)


def _spoken_digits(root: Path, seed: int) -> Task:
    return av_digits(_recordings(root), seed)


_UTD = "27 actions, unseen people: "
_WISDM = "18 activities, unseen people: "
_DEVICES = ("phone=accel_phone+gyro_phone", "watch=accel_watch+gyro_watch")
_SENSORS = ("accel_phone", "gyro_phone", "accel_watch", "gyro_watch")

TASKS: Mapping[str, SuiteTask] = {
    "utd-inertial-depth": _natural("utd_mhad", f"{_UTD}inertial sensor, depth", 120, "inertial", "depth"),
    "utd-skeleton-inertial": _natural("utd_mhad", f"{_UTD}skeleton, inertial sensor", 120, "skeleton", "inertial"),
    "utd-three": _natural("utd_mhad", f"{_UTD}skeleton, inertial sensor, depth", 120, "skeleton", "inertial", "depth"),
    "wikipedia": _natural("wikipedia", "10 categories of articles: image, topics of the text", 30, "image", "text"),
    "wisdm-400": _natural("wisdm", f"{_WISDM}phone, watch; 400 windows", 120, *_DEVICES, training=400),
    "wisdm-1500": _natural("wisdm", f"{_WISDM}phone, watch; 1,500 windows", 40, *_DEVICES, training=1500),
    "wisdm-four": _natural("wisdm", f"{_WISDM}four sensors; 3,000 windows", 25, *_SENSORS, training=3000),
    "wide-left": _constructed(wide_left, "digits: left half wide and noisy, right half clean"),
    "two-sensors": _constructed(two_sensors, "digits: a coarse clean and a fine noisy sensor"),
    "halves": _constructed(halves, "digits: left half, right half"),
    "breast-cancer": _constructed(breast_cancer, "tumours: means, errors and worst values of ten measurements"),
    "spoken-digits": SuiteTask(
        "spoken and written digits, unseen speakers",
        False,
        Recipe(80),
        lambda root: Source(partial(_spoken_digits, root)),
        "fsdd",
    ),
}
"""By name, in the order of the tables."""


def run_suite(
    output: Path,
    root: Path | None = None,
    *,
    methods: str | Sequence[str] = "all",
    seeds: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare the methods on the tasks of the tables, and return the results by task.

    ``root`` holds ``natural/*.npz`` and ``fsdd/recordings``; without one, tasks that need it are left out. ``seeds``,
    16 if omitted, are rounded down to as many for each split. The rest as in
    `midas_core.compare.comparison.compare_methods`. ``results.json`` in ``output`` holds them as `kept` shortens them.
    """
    plans = []
    for name, task in TASKS.items():
        if task.file and root is None:
            continue
        source = task.open((root or Path()) / task.file)
        titles = known_methods(methods, source.make(0).modalities)
        count = max((seeds or SEEDS) // source.splits, 1) * source.splits
        plans.append(Plan(name, source, titles, task.recipe, count, {}))
    results = {
        name: {"title": TASKS[name].title, "natural": TASKS[name].natural, **content}
        for name, content in run_plans(plans, Store(output, MADE_BY), jobs=jobs, progress=progress).items()
    }
    write_json(output / "results.json", kept(results), indent=None)
    return results


def kept(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of the suite as a file keeps them, with the versions and the machine that made them."""
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"midas_core": __version__, **package_versions("torch", "numpy", "scikit-learn")},
        "tasks": compact(results),
    }


def compact(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of the suite by task and method: for each measure a list over the runs."""
    return {
        name: {**task, "methods": {title: _columns(runs) for title, runs in task["methods"].items()}}
        for name, task in content.items()
    }


def _columns(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    measures = [name for name in MEASURES if all(run["test"].get(name) is not None for run in runs)]

    def over(*path: str) -> list[float | None]:
        values: Iterator[Any] = (reduce(operator.getitem, path, {**run, **run["test"]}) for run in runs)
        return [None if x is None else round(float(x), 4) for x in values]

    return {
        "learning_rate": [run["setting"][1] for run in runs],
        "strength": [run["setting"][2] for run in runs],
        "accuracy": over("accuracy"),
        "validation": over("validation_accuracy"),
        "last": over("last"),
        "seconds": round(fmean(run["seconds"] for run in runs), 3),
        **{measure: over(measure) for measure in measures},
        **{
            kind: {modality: over(kind, modality) for modality in runs[0]["test"][kind]}
            for kind in ("alone", "without")
            if kind in runs[0]["test"]
        },
    }
