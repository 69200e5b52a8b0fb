"""The tasks that the demo can run, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from midas_core.data import Task
from midas_core.data.breast_cancer import breast_cancer
from midas_core.data.digits import halves, noisy_views, two_sensors, wide_left

Make = Callable[[int], Task]
"""From a seed to a task."""


@dataclass(frozen=True)
class TaskInfo:
    """A task and how to make it.

    Attributes
    ----------
    title : str
    make : callable, optional
        From a seed to the `Task`. None where recordings have to be read first.
    pairs, noise
        Of the spoken and written digits: training pairs, and the standard deviation of the noise on the images.
    """

    title: str
    make: Make | None = None
    pairs: int = 0
    noise: float = 0.0


TASKS: Mapping[str, TaskInfo] = {
    "halves": TaskInfo("left and right half of a digit", halves),
    "wide-left": TaskInfo("the left half wide and easily memorised", wide_left),
    "two-sensors": TaskInfo("a coarse clean and a fine noisy sensor", two_sensors),
    "scaled-sensors": TaskInfo(
        "the two sensors, the noisy one scaled down by hand", partial(two_sensors, noisy_scale=0.1)
    ),
    "noisy-views": TaskInfo("two modalities with the same noise", noisy_views),
    "breast-cancer": TaskInfo("breast cancer in three feature groups", breast_cancer),
    "av-clean": TaskInfo("spoken and written digits, 500 pairs", pairs=500),
    "av-noisy": TaskInfo("spoken and written digits, 2000 pairs, noisy images", pairs=2000, noise=0.5),
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "digits": ("halves", "wide-left"),
    "limits": ("breast-cancer", "noisy-views", "two-sensors", "scaled-sensors"),
    "av-digits": ("av-clean", "av-noisy"),
}


def load(names: tuple[str, ...], root: Path | None) -> dict[str, Make]:
    """Return how to make each task, reading recordings once where they are needed.

    Raises
    ------
    midas_core.data.DataError
        If the recordings are missing or damaged.
    """
    made: dict[str, Make] = {}
    recordings = None
    for name in names:
        info = TASKS[name]
        if info.make is not None:
            made[name] = info.make
            continue
        from midas_core.data.av_digits import av_digits, read_recordings

        assert root is not None
        recordings = recordings or read_recordings(root)
        made[name] = partial(av_digits, recordings, pairs=info.pairs, noise=info.noise)
    return made
