"""The small tasks of the comparison: those of ``midas demo``, and more class counts and sizes of the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.verdicts import TOYS
from benchmarks.verdicts import make as make_toy
from midas_core.data import Split, Task
from midas_core.data.digits import halves, two_sensors, wide_left
from midas_core.demo import tasks as demo
from midas_core.demo.tasks import Make


@dataclass(frozen=True)
class TaskInfo:
    """A task, and how long it is trained.

    Attributes
    ----------
    title : str
    make : callable, optional
        None for a task of ``midas demo``, which has its own.
    epochs, batch_size : int
        The same for every method.
    """

    title: str
    make: Make | None = None
    epochs: int = 120
    batch_size: int = 64


def fewer_classes(make: Make, count: int, seed: int) -> Task:
    """Return a task with its first classes alone."""
    task = make(seed)

    def restrict(split: Split) -> Split:
        # Each class has its share of a split or one sample less: as many for every seed.
        most = len(split) * count // task.num_classes - count
        kept = (split.labels < count).nonzero()[0][:most]
        origin = {kind: values[kept] for kind, values in split.origin.items()}
        return Split(tuple(view[kept] for view in split.inputs), split.labels[kept], origin)

    return Task(task.modalities, count, restrict(task.training), restrict(task.validation), restrict(task.test))


TASKS: Mapping[str, TaskInfo] = {
    "wide-left": TaskInfo("left half of a digit wide and noisy, right half clean"),
    "halves": TaskInfo("left and right half of a digit"),
    "av-clean": TaskInfo("spoken and written digits, unseen speakers", epochs=80),
    "breast-cancer": TaskInfo("breast cancer in three feature groups"),
    "wide-left-5": TaskInfo(
        "wide-left with 5 classes", partial(fewer_classes, partial(wide_left, training=500), 5), epochs=150
    ),
    "two-sensors": TaskInfo("a coarse clean and a fine noisy sensor"),
    "three-wide": TaskInfo("drawn: three modalities, one wide and noisy", partial(make_toy, TOYS["three, one wide"])),
    "noisy-views": TaskInfo("two modalities with the same noise", epochs=80),
    "halves-100": TaskInfo("halves with few samples", partial(halves, training=100), epochs=300),
    "wide-left-700": TaskInfo("wide-left with more samples", partial(wide_left, training=700), epochs=60),
    "scaled-sensors": TaskInfo("the two sensors, the noisy one scaled down by hand"),
    "two-sensors-3": TaskInfo(
        "two-sensors with 3 classes", partial(fewer_classes, partial(two_sensors, training=600), 3), epochs=180
    ),
    "av-noisy": TaskInfo("spoken and written digits, images noisy", epochs=40, batch_size=128),
}
"""By name, in the order of the tables."""

NEEDS_ROOT = tuple(name for name, info in TASKS.items() if info.make is None and demo.TASKS[name].make is None)


def load(names: tuple[str, ...], root: Path | None) -> dict[str, Make]:
    """Return how to make each task.

    Raises
    ------
    midas_core.data.DataError
        If recordings are missing or damaged.
    """
    own = demo.load(tuple(name for name in names if TASKS[name].make is None), root)
    return {name: TASKS[name].make or own[name] for name in names}
