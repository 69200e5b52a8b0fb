"""Means, spreads and paired differences over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from midas_core.demo.training import MethodRun, Point


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, the standard deviation (0 for one seed), and each value."""

    mean: float
    sd: float
    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Return mean and spread of some values."""
        return Spread(fmean(values), stdev(values) if len(values) > 1 else 0.0, tuple(values))

    def interval(self) -> tuple[float, float]:
        """Return the 95 % confidence interval of the mean by Student's t; NaN for one value."""
        if len(self.values) < 2:
            return math.nan, math.nan
        from scipy.stats import t

        half = float(t.ppf(0.975, len(self.values) - 1)) * self.sd / math.sqrt(len(self.values))
        return self.mean - half, self.mean + half


def measures(run: MethodRun, modalities: Sequence[str]) -> dict[str, float]:
    """Return what the table shows of a run, by column; shares in percent.

    Parameters
    ----------
    run : MethodRun
        With test scores.
    modalities : sequence of M names

    Returns
    -------
    dict
        Without what does not apply.
    """
    assert run.test is not None
    shown = {"accuracy": 100 * run.test.accuracy, "macro-F1": 100 * run.test.macro_f1}
    if run.test.misaligned_accuracy is not None:
        shown["misaligned"] = 100 * run.test.misaligned_accuracy
    for name, value in zip(modalities, run.test.accuracy_alone, strict=False):
        shown[f"{name} only"] = 100 * value
    if len(run.history) >= 4:
        shown["last quarter"] = 100 * last_quarter(run.history)
    shown["seconds"] = run.seconds
    return shown


def last_quarter(history: Sequence[Point]) -> float:
    """Return how much validation accuracy the last quarter of training has gained on average over the third quarter."""
    size = len(history) // 4
    values = [point.validation_accuracy for point in history]
    return fmean(values[-size:]) - fmean(values[-2 * size : -size])


def summarize(runs: Sequence[MethodRun], modalities: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Return mean and spread over the seeds, by method and column.

    Parameters
    ----------
    runs : sequence of MethodRun
        Of one task, with test scores.
    modalities : sequence of M names

    Returns
    -------
    dict of dict of Spread
        The methods in the order of their first run.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        rows.setdefault(run.method, []).append(measures(run, modalities))
    return {
        method: {column: Spread.of([row[column] for row in found]) for column in found[0]}
        for method, found in rows.items()
    }


def difference(summary: dict[str, dict[str, Spread]], a: str, b: str, column: str) -> Spread | None:
    """Return the paired difference a - b over the seeds, or None where one of them lacks the column."""
    if column not in summary[a] or column not in summary[b]:
        return None
    pairs = zip(summary[a][column].values, summary[b][column].values, strict=True)
    return Spread.of([x - y for x, y in pairs])


def best_alone(summary: dict[str, dict[str, Spread]], modalities: Sequence[str]) -> str:
    """Return the method that trains the best modality alone."""
    return max((f"{name} alone" for name in modalities), key=lambda key: summary[key]["accuracy"].mean)
