"""The figures of a comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midas_core.diagnostics.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from midas_core.compare.result import MethodComparison

CHOSEN, PLAIN, JOINT = "#1b6ca8", "#8c959f", "#1f2328"


def accuracy_figure(comparison: MethodComparison) -> Figure:
    """Return the accuracy of every method with its interval, the most accurate at the top."""
    accuracies = comparison.accuracies
    order = sorted(accuracies, key=lambda title: accuracies[title].mean)
    with style():
        figure, axes = make_axes(len(order))
        for row, title in enumerate(order):
            color = CHOSEN if title == comparison.best else JOINT if title == "joint" else PLAIN
            width = 0.0 if math.isnan(accuracies[title].half_width) else accuracies[title].half_width
            axes.errorbar(accuracies[title].mean, row, xerr=width, fmt="o", color=color, capsize=3)
        axes.axvline(accuracies["joint"].mean, color=JOINT, linewidth=1, linestyle=":")
        axes.set_yticks(range(len(order)), order)
        axes.set_xlabel("test accuracy in percent, with 95 % intervals")
    return figure


def make_axes(rows: float) -> tuple[Figure, Any]:
    """Return an empty figure with room for some rows, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.9 + 0.28 * rows), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
