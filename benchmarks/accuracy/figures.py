"""The figures of a comparison."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.accuracy.ranks import Ranks
from benchmarks.accuracy.tables import Results, best_accuracy, methods_of, ranks_of, values
from midas_core.diagnostics.plots import style

FIGURES = ("comparison-ranks.png", "comparison-accuracy.png")


def write_figures(content: Results, folder: Path) -> None:
    """Write the figures into a folder."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        found = [rank_figure(ranks_of(content))]
        if "MIDAS" in methods_of(content):
            found.append(accuracy_figure(content))
        for name, figure in zip(FIGURES, found, strict=False):
            FigureCanvasAgg(figure).print_png(folder / name)


def rank_figure(ranks: Ranks) -> Any:
    """Return the critical-difference diagram: bars join methods whose average ranks do not differ."""
    from matplotlib.figure import Figure

    names, groups = list(ranks.mean), ranks.groups()
    figure = Figure(figsize=(7, 0.8 + 0.28 * len(names)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        bold = "bold" if name == "MIDAS" else "normal"
        axes.plot(ranks.mean[name], row, "o", color="#1b6ca8" if name == "MIDAS" else "#555555")
        axes.annotate(name, (ranks.mean[name], row), (8, 0), textcoords="offset points", va="center", fontweight=bold)
    for i, group in enumerate(groups):
        y = len(names) + 0.4 * i
        axes.plot([ranks.mean[group[0]], ranks.mean[group[-1]]], [y, y], color="#999999", linewidth=3)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xlim(0.8, len(names) + 0.2 + 0.25 * len(names))
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_xlabel("average rank by accuracy over the tasks; bars join what does not differ (Nemenyi, 5 %)")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    return figure


def accuracy_figure(content: Results) -> Any:
    """Return the accuracy of every method less that of MIDAS, a dot for each task."""
    from matplotlib.figure import Figure

    tasks = content["comparison"]
    names = [name for name in methods_of(content) if name != "MIDAS"]
    figure = Figure(figsize=(7, 1.2 + 0.3 * len(names)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    found = {
        name: [
            fmean(values(task, name, best_accuracy)) - fmean(values(task, "MIDAS", best_accuracy))
            for task in tasks.values()
        ]
        for name in names
    }
    order = sorted(found, key=lambda name: fmean(found[name]))
    for row, name in enumerate(order):
        axes.plot(found[name], [row] * len(tasks), "o", color="#999999", alpha=0.7, markersize=4)
        axes.plot(fmean(found[name]), row, "D", color="#1b6ca8")
    axes.axvline(0, color="#555555", linewidth=1)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("accuracy less that of MIDAS, in points: a dot for each task, the diamond their mean")
    return figure
