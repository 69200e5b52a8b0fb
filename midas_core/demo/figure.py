"""The figure of a task: what happens over training."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from midas_core.demo.training import MethodRun, Point
from midas_core.diagnostics.plots import MODALITIES

# Of the palette of the modalities; these never share an axis with them.
METHOD_COLORS = {
    "joint": "#000000",
    "joint + unimodal": "#E69F00",
    "joint + dropout": "#56B4E9",
    "MIDAS": "#D55E00",
}
Values = NDArray[np.float64]


def draw_figure(title: str, modalities: Sequence[str], runs: Sequence[MethodRun], path: Path) -> None:
    """Draw the curves of a task over training into a PNG: means over the seeds, with one standard deviation around.

    Parameters
    ----------
    title : str
    modalities : sequence of M names
    runs : sequence of MethodRun
        Every method and seed.
    path : Path
    """
    histories = {key: [run.history for run in runs if run.method == key] for key in METHOD_COLORS}
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots(2, 3)
    (aligned, misaligned, training), (alpha, midas, unimodal) = axes

    _by_method(aligned, histories, "validation_accuracy", "Aligned accuracy, validation (%)")
    _by_method(misaligned, histories, "misaligned_accuracy", "Misaligned accuracy, validation (%)")
    _by_method(training, histories, "training_accuracy", "Aligned accuracy, training (%)")
    epochs, values = _series(histories["MIDAS"], "alpha")
    for m, name in enumerate(modalities):
        _curve(alpha, epochs, values[..., m], MODALITIES[m], name)
    alpha.set_title("Weight of the weak modality, alpha\nMIDAS", fontsize=11)
    alpha.set_ylim(0.98, max(1.12, alpha.get_ylim()[1]))
    alpha.legend(frameon=False, fontsize=9)
    _confidences(midas, histories["MIDAS"], modalities, "MIDAS")
    _confidences(unimodal, histories["joint + unimodal"], modalities, "joint + unimodal")

    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_xlabel("epoch")
    handles, labels = aligned.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, title="methods (upper row)")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = BytesIO()
    figure.savefig(picture, dpi=110)
    # A palette takes a third of the space.
    Image.open(picture).convert("RGB").quantize(200).save(path, optimize=True)


def _by_method(axis: Axes, histories: dict[str, list[list[Point]]], field: str, title: str) -> None:
    axis.set_title(title, fontsize=11)
    highest = 0.0
    for key, color in METHOD_COLORS.items():
        epochs, values = _series(histories[key], field)
        if np.isnan(values).all():
            axis.text(0.5, 0.5, "always 100 with two classes", ha="center", transform=axis.transAxes)
            return
        _curve(axis, epochs, 100 * values, color, key)
        highest = max(highest, 100 * float(np.nanmax(values)))
    if field == "misaligned_accuracy":
        axis.set_ylim(0, 1.1 * highest)


def _confidences(axis: Axes, histories: list[list[Point]], modalities: Sequence[str], key: str) -> None:
    epochs, unimodal = _series(histories, "unimodal_confidence")
    _, fused = _series(histories, "fused_confidence")
    for m, name in enumerate(modalities):
        color = MODALITIES[m]
        _curve(axis, epochs, unimodal[..., m], color, f"{name}, unimodal", "--")
        _curve(axis, epochs, fused[..., m], color, f"{name}, multimodal")
    axis.set_title(f"Normalised confidence, validation\n{key}", fontsize=11)
    # The legend has its place above the curves: two columns fit the width.
    axis.set_ylim(0, 1 + 0.15 * len(modalities))
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", columnspacing=1.0)


def _series(histories: list[list[Point]], field: str) -> tuple[Values, Values]:
    epochs = np.array([point.epoch for point in histories[0]], dtype=np.float64)
    values = [[getattr(point, field) for point in history] for history in histories]
    return epochs, np.array(values, dtype=np.float64)  # None becomes NaN


def _curve(axis: Axes, epochs: Values, values: Values, color: str, label: str, style: str = "-") -> None:
    mean, sd = values.mean(axis=0), values.std(axis=0)
    axis.plot(epochs, mean, style, color=color, label=label, linewidth=1.5)
    axis.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=0.12, linewidth=0)
