"""Average ranks of methods over tasks, and the figures of ``docs/comparison.md``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from midas_core.compare.figures import CHOSEN, JOINT, PLAIN, make_axes
from midas_core.compare.statistics import LEVEL
from midas_core.diagnostics.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.suite_tables import SuiteResults


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods over tasks, from the best, 1, to the worst (Demsar, JMLR 2006).

    Ranks further apart than the critical difference differ at the 5 % level by Nemenyi's test (NaN for fewer than two
    tasks); the p-value is of Friedman's test that all methods are alike (NaN for fewer than three methods too).
    """

    mean: dict[str, float]
    critical_difference: float
    p_value: float


def rank(values: Mapping[str, Sequence[float]]) -> Ranks:
    """Rank methods by their values on each task, the highest first, ties sharing their mean rank.

    Examples
    --------
    >>> ranks = rank({"a": [0.9, 0.8, 0.9], "b": [0.8, 0.9, 0.8], "c": [0.1, 0.2, 0.3]})
    >>> {name: round(mean, 2) for name, mean in ranks.mean.items()}
    {'a': 1.33, 'b': 1.67, 'c': 3.0}
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.array(list(values.values()))  # (methods, tasks)
    count, tasks = table.shape
    means = dict(zip(values, rankdata(-table, axis=0).mean(axis=1).tolist(), strict=True))
    difference = p_value = math.nan
    if tasks > 1 and count > 1:
        quantile = studentized_range.ppf(1 - LEVEL, count, np.inf) / math.sqrt(2)
        difference = float(quantile * math.sqrt(count * (count + 1) / (6 * tasks)))
    if tasks > 1 and count > 2:
        p_value = float(friedmanchisquare(*table).pvalue)
    return Ranks(dict(sorted(means.items(), key=lambda item: item[1])), difference, p_value)


def difference_figure(differences: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Return a dot for each task and a diamond for their mean, by method."""
    order = sorted(differences, key=lambda title: fmean(differences[title]))
    with style():
        figure, axes = make_axes(len(order))
        for row, title in enumerate(order):
            axes.plot(differences[title], [row] * len(differences[title]), "o", color=PLAIN, alpha=0.7, markersize=4)
            axes.plot(fmean(differences[title]), row, "D", color=CHOSEN)
        axes.axvline(0, color=JOINT, linewidth=1)
        axes.set_yticks(range(len(order)), order)
        axes.set_xlabel(label)
    return figure


def rank_figure(ranks: Ranks, values: Mapping[str, Sequence[float]]) -> Figure:
    """Return the critical-difference diagram: bars join methods whose average ranks do not differ."""
    import pandas as pd
    import scikit_posthocs

    table = pd.DataFrame(np.array(list(values.values())).T, columns=list(values))
    with style():
        figure, axes = make_axes(len(ranks.mean) / 2 + 1)
        scikit_posthocs.critical_difference_diagram(
            ranks.mean,
            scikit_posthocs.posthoc_nemenyi_friedman(table),
            ax=axes,
            label_fmt_left="{label}  {rank:.1f}",
            label_fmt_right="{rank:.1f}  {label}",
        )
    return figure


def write_figures(results: SuiteResults, folder: Path) -> None:
    """Write the figures of the docs: differences to joint training, and average ranks, natural tasks first."""
    for natural, kind in ((True, "natural"), (False, "constructed")):
        tasks = results.tasks(natural).values()
        if not tasks:
            continue
        differences = {
            title: [task.differences[title].mean for task in tasks]
            for title in results.methods(natural)
            if title != "joint"
        }
        values = {title: [task.accuracies[title].mean for task in tasks] for title in results.methods(natural)}
        label = f"Δ accuracy vs. joint training, in points; dots: {kind} tasks, diamond: mean"
        difference_figure(differences, label).savefig(folder / f"comparison-{kind}.png")
        if len(tasks) > 1:
            rank_figure(results.ranks(natural), values).savefig(folder / f"comparison-ranks-{kind}.png")
