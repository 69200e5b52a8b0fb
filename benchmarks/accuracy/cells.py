"""The cells of a comparison: what is trained in one go, finished as a whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.accuracy.methods.base import Method
from benchmarks.accuracy.training import Setting

SETTINGS = 9
"""That are tried for every method: for one without a strength as many learning rates."""
LEARNING_RATES = (5e-4, 2e-2)
"""Of Adam, the lowest and the highest."""
TUNING_SEED = 1000
"""The first seed of the tuning: other seeds than those that are reported."""
CHUNK = 8
"""Reporting seeds in one cell."""


@dataclass(frozen=True)
class Cell:
    """Models that are trained as one stack.

    Attributes
    ----------
    data, method : str
    stage : {"tuning", "report"}
        Only the second looks at the test data.
    settings : tuple of Setting
    epochs, batch_size : int
    """

    data: str
    method: str
    stage: str
    settings: tuple[Setting, ...]
    epochs: int
    batch_size: int

    @property
    def file_name(self) -> str:
        """Where the folder of the comparison keeps it."""
        seeds = [setting.seed for setting in self.settings]
        method = re.sub(r"[^\w+-]+", "-", self.method.replace(" + ", "+")).strip("-")
        return f"{self.data}/{method}.{self.stage}.{min(seeds)}-{max(seeds)}.json"

    def as_dict(self) -> dict[str, Any]:
        """Return numbers, text and lists: what a kept cell must agree with."""
        return {**asdict(self), "settings": [list(setting) for setting in self.settings]}


def grid(method: type[Method]) -> list[tuple[float, float]]:
    """Return the learning rates and strengths that are tried, `SETTINGS` of them for every method.

    Examples
    --------
    >>> from benchmarks.accuracy.methods import METHODS
    >>> len(grid(METHODS["joint"])), len(grid(METHODS["MIDAS"]))
    (9, 9)
    """
    strengths = method.strengths or (1.0,)
    rates = np.geomspace(*LEARNING_RATES, SETTINGS // len(strengths))
    return [(float(f"{rate:.3g}"), strength) for strength in strengths for rate in rates]


def tuning_cell(data: str, method: type[Method], seeds: int, epochs: int, batch_size: int) -> Cell:
    """Return the cell that tries every setting with every tuning seed."""
    settings = [Setting(TUNING_SEED + seed, *each) for each in grid(method) for seed in range(seeds)]
    return Cell(data, method.title, "tuning", tuple(settings), epochs, batch_size)


def best_setting(runs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Return learning rate and strength with the best mean validation accuracy, of equal ones the first.

    Parameters
    ----------
    runs : sequence of dict
        With ``setting`` (seed, learning rate, strength) and ``validation_accuracy``.
    """
    found: dict[tuple[float, float], list[float]] = {}
    for run in runs:
        found.setdefault((*run["setting"][1:],), []).append(run["validation_accuracy"])
    return max(found, key=lambda each: float(np.mean(found[each])))


def report_cells(
    data: str, method: str, setting: tuple[float, float], seeds: int, epochs: int, batch_size: int
) -> list[Cell]:
    """Return the cells of the reporting seeds 0 ... ``seeds`` - 1."""
    chunks = [range(start, min(start + CHUNK, seeds)) for start in range(0, seeds, CHUNK)]
    return [
        Cell(data, method, "report", tuple(Setting(seed, *setting) for seed in chunk), epochs, batch_size)
        for chunk in chunks
    ]
