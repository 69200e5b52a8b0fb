"""The figure of a task: what happens over training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from midas_core.demo.training import Point, Run

# Okabe and Ito's palette, which people with any colour vision can tell apart.
METHOD_COLORS = {
    "joint": "#000000",
    "joint + unimodal": "#E69F00",
    "joint + dropout": "#56B4E9",
    "MIDAS": "#D55E00",
}
MODALITY_COLORS = ("#0072B2", "#CC79A7", "#009E73", "#E69F00", "#56B4E9")
"""Of the modalities, in order."""


def draw_figure(title: str, modalities: Sequence[str], runs: Sequence[Run], path: Path) -> None:
    """Draw the curves of a task into a PNG.

    Parameters
    ----------
    title : str
    modalities : sequence of M names
    runs : sequence of Run
        Every method and seed.
    path : Path
    """
    by_method = {key: [r.history for r in runs if r.method == key] for key in METHOD_COLORS}
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    figure.suptitle(title, fontsize=13)

    _methods(axes[0, 0], by_method, lambda p: 100 * p.validation_accuracy)
    axes[0, 0].set(title="Accuracy, aligned (validation)", ylabel="%")
    if by_method["MIDAS"][0][0].misaligned_accuracy is None:
        axes[0, 1].set_axis_off()
        axes[0, 1].text(0.5, 0.5, "two classes:\nmisaligned accuracy is always 1", ha="center", va="center")
    else:
        _methods(axes[0, 1], by_method, lambda p: 100 * (p.misaligned_accuracy or 0.0))
        axes[0, 1].set(title="Accuracy, misaligned (validation)", ylabel="%", ylim=(0, 100))
    _methods(axes[0, 2], by_method, lambda p: 100 * p.training_accuracy)
    axes[0, 2].set(title="Accuracy, training", ylabel="%")

    midas = by_method["MIDAS"]
    for m, name in enumerate(modalities):
        _curve(axes[1, 0], midas, lambda p, m=m: (p.alpha or [])[m], MODALITY_COLORS[m], name)
    axes[1, 0].set(title="Weak-modality weight alpha (MIDAS)")
    axes[1, 0].set_ylim(bottom=0.98)
    axes[1, 0].legend(frameon=False)
    _confidences(axes[1, 1], midas, modalities, "MIDAS")
    _confidences(axes[1, 2], by_method["joint + unimodal"], modalities, "joint + unimodal")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_xlabel("epoch")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "midas"}):
        figure.savefig(path, dpi=110)


Value = Callable[[Point], float]


def _methods(axis: Any, by_method: dict[str, list[list[Point]]], value: Value) -> None:
    for key, histories in by_method.items():
        if histories:
            _curve(axis, histories, value, METHOD_COLORS[key], key)


def _confidences(axis: Any, histories: list[list[Point]], modalities: Sequence[str], key: str) -> None:
    for m, name in enumerate(modalities):
        color = MODALITY_COLORS[m]
        _curve(axis, histories, lambda p, m=m: (p.unimodal_confidence or [])[m], color, f"{name}, unimodal", "--")
        _curve(axis, histories, lambda p, m=m: (p.fused_confidence or [])[m], color, f"{name}, multimodal")
    axis.set(title=f"Normalised confidence ({key})", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8, ncols=len(modalities), loc="lower center")


def _curve(axis: Any, histories: list[list[Point]], value: Value, color: str, label: str, style: str = "-") -> None:
    epochs = [point.epoch for point in histories[0]]
    values = np.array([[value(point) for point in history] for history in histories])
    mean, sd = values.mean(axis=0), values.std(axis=0)
    axis.plot(epochs, mean, style, color=color, label=label, linewidth=1.6)
    axis.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.12, linewidth=0)
