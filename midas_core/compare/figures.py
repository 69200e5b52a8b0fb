"""The figures of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from midas_core.compare.statistics import Ranks
from midas_core.diagnostics.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from midas_core.compare.result import MethodComparison
    from midas_core.compare.tables import SuiteResults

CHOSEN, PLAIN, JOINT = "#1b6ca8", "#8c959f", "#1f2328"


def accuracy_figure(comparison: MethodComparison) -> Figure:
    """Return the accuracy of every method with its interval, the most accurate at the top."""
    accuracies = comparison.accuracies
    order = sorted(accuracies, key=lambda title: accuracies[title].mean)
    with style():
        figure, axes = _axes(len(order))
        for row, title in enumerate(order):
            color = CHOSEN if title == comparison.best else JOINT if title == "joint" else PLAIN
            width = 0.0 if math.isnan(accuracies[title].half_width) else accuracies[title].half_width
            axes.errorbar(accuracies[title].mean, row, xerr=width, fmt="o", color=color, capsize=3)
        axes.axvline(accuracies["joint"].mean, color=JOINT, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(order)), order)
        axes.set_xlabel("test accuracy in percent, with 95 % intervals")
    return figure


def difference_figure(differences: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Return a dot for each task and a diamond for their mean, by method."""
    order = sorted(differences, key=lambda title: fmean(differences[title]))
    with style():
        figure, axes = _axes(len(order))
        for row, title in enumerate(order):
            axes.plot(differences[title], [row] * len(differences[title]), "o", color=PLAIN, alpha=0.7, markersize=4)
            axes.plot(fmean(differences[title]), row, "D", color=CHOSEN)
        axes.axvline(0, color=JOINT, linewidth=1)
        axes.set_yticks(range(len(order)), order)
        axes.set_xlabel(label)
    return figure


def rank_figure(ranks: Ranks, values: Mapping[str, Sequence[float]]) -> Figure:
    """Return the critical-difference diagram: bars join methods whose average ranks do not differ."""
    import numpy as np
    import pandas as pd
    import scikit_posthocs

    table = pd.DataFrame(np.array(list(values.values())).T, columns=list(values))
    with style():
        figure, axes = _axes(len(ranks.mean) / 2 + 1)
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


def _axes(rows: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.9 + 0.28 * rows), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
