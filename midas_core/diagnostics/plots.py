"""Figures of diagnoses and of training: Matplotlib figures small enough for a phone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from midas_core.diagnostics.diagnosis import Diagnosis
from midas_core.diagnostics.model import Floats
from midas_core.runs import Run

INK, MUTED, GRID, PLAIN = "#1f2328", "#59636e", "#d1d9e0", "#8c959f"
MODALITIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a5195", "#5b5b00")
"""Colours of modalities, in order: Okabe and Ito's, which people with any colour vision can tell apart."""
METHODS = ("#8c2d62", "#1b7f79", "#8a5a2b", "#4056a1", "#b02a30", "#6b7f1f", "#555f6b", "#a64ca6")
"""Colours of methods and runs, none of them a modality's; the first run, a baseline, is `PLAIN`."""

WIDTH = 3.9
POINTS = 300
"""At most so many points on a curve."""


def style() -> AbstractContextManager[Any]:
    """Return the context in which the figures are drawn and saved: text stays text, and no name becomes math."""
    return rc_context(
        {
            "font.size": 9,
            "text.color": INK,
            "axes.labelcolor": MUTED,
            "axes.edgecolor": GRID,
            "axes.titlesize": 9,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "midas",
        }
    )


def plot_use(diagnosis: Diagnosis) -> Figure:
    """Draw how much of the available accuracy, or mean recall, of each modality reaches the decision."""
    with style():
        figure, axis = _figure(0.85 + 0.42 * len(diagnosis.modalities))
        measured = diagnosis.measured
        for row, (name, share) in enumerate(measured.alone.items()):
            color, alone, available = _color(row), 100 * share, measured.available[name]
            if not math.isnan(alone):
                axis.plot([alone], [row], "o", color=color, markersize=8, zorder=3)
            ends = [alone]
            if available is not None:
                reach = 100 * available
                axis.plot([alone, reach], [row, row], color=color, linewidth=3, alpha=0.35, zorder=2)
                axis.plot([reach], [row], "o", markerfacecolor="none", color=color, markersize=11, zorder=3)
                ends.append(reach)
            low, high = min(ends), max(ends)
            _label(axis, low, row, "left")
            if high > low:
                _label(axis, high, row, "right")
        _line(axis, 100 * measured.fused, "fused", INK, "-")
        _line(axis, 100 * measured.chance, "chance", MUTED, ":")
        # Room for the labels on both sides.
        _rows(axis, diagnosis.names, "accuracy (%)" if measured.unit == "accuracy" else "mean recall (%)", -9)
    return figure


def plot_accuracy(diagnoses: Mapping[str, Diagnosis]) -> Figure:
    """Draw the accuracy on aligned and on misaligned samples, of one model or several (the paper's figure 1)."""
    with style():
        figure, axis = _figure(0.75 + 0.55 * len(diagnoses))
        for row, diagnosis in enumerate(diagnoses.values()):
            _bar(axis, row - 0.19, diagnosis.accuracy, 0.34, PLAIN)
            _bar(axis, row + 0.19, diagnosis.misaligned_accuracy, 0.34, INK)
        _rows(axis, list(diagnoses), "accuracy (%)", 0)
        known = any(diagnosis.misaligned_accuracy is not None for diagnosis in diagnoses.values())
        _legend(axis, [("aligned", PLAIN, "s"), *([("misaligned", INK, "s")] if known else [])])
    return figure


def plot_confidence(diagnosis: Diagnosis) -> Figure:
    """Draw how sure the fused model is of the class of each modality, on misaligned samples (the paper's figure 3)."""
    with style():
        figure, axis = _figure(0.65 + 0.36 * len(diagnosis.modalities))
        for row, scores in enumerate(diagnosis.modalities):
            _bar(axis, row, scores.pair_confidence, 0.62, _color(row))
        _rows(axis, diagnosis.names, "mean probability (%)", 0)
    return figure


def plot_similarity(diagnosis: Diagnosis, *, beside: Sequence[Diagnosis] = ()) -> Figure:
    """Draw how alike the features are that are exchanged (figure 6), on the same axes as those ``beside`` it."""
    # After a ReLU no cosine is negative.
    shown = [_shares(scores.similarity) for x in (diagnosis, *beside) for scores in x.modalities]
    known = [x for x in shown if x.size]
    lowest = -1.0 if any(x[: len(x) // 2].any() for x in known) else 0.0
    highest = max((x.max() for x in known), default=0.0)
    with style():
        figure, axis = _figure(2.1)
        for m, scores in enumerate(diagnosis.modalities):
            shares = _shares(scores.similarity)
            if shares.size:
                edges = np.linspace(-1, 1, len(shares) + 1)
                axis.stairs(shares, edges, fill=True, color=_color(m), alpha=0.22)
                axis.stairs(shares, edges, color=_color(m), linewidth=1.4)
        axis.set_xlim(lowest, 1)
        axis.set_ylim(0, 1.05 * highest or 1)
        axis.set_xticks(np.linspace(lowest, 1, 5))
        _finish(axis, "cosine similarity", "samples (%)")
        _legend(axis, [(name, _color(m), "s") for m, name in enumerate(diagnosis.names)])
    return figure


def _shares(histogram: Sequence[int]) -> Floats:
    counts = np.asarray(histogram, dtype=np.float64)
    return 100 * counts / counts.sum() if counts.sum() else np.zeros(0)


def plot_reliability(diagnosis: Diagnosis) -> Figure:
    """Draw how often the model is right against how sure it is; larger dots stand for more samples."""
    with style():
        figure, axis = _figure(2.5)
        axis.plot([0, 100], [0, 100], ":", color=MUTED, linewidth=1)
        filled = [x for x in diagnosis.reliability if x.count]
        sizes = [12 + 150 * x.count / max(diagnosis.samples, 1) for x in filled]
        x, y = [100 * dot.confidence for dot in filled], [100 * dot.accuracy for dot in filled]
        axis.scatter(x, y, s=sizes, color=MUTED, alpha=0.85, linewidth=0, zorder=3, clip_on=False)
        axis.set_xlim(0, 103)
        axis.set_ylim(0, 105)
        _finish(axis, "confidence (%)", "right (%)")
    return figure


def plot_history(
    runs: Mapping[str, Sequence[Run]], lines: Mapping[str, str], *, label: str, share: bool = True, top: float = 1.1
) -> Figure | None:
    """Draw metrics over training, or return None without any: a colour for each run, a band for its seeds."""
    curves = []
    for i, (title, several) in enumerate(runs.items()):
        for name, line in lines.items():
            x, mean, sd = _over_seeds([_series(run, name) for run in several])
            if len(x):
                curves.append((title, _run_color(i), line, x, mean, sd))
    if not curves:
        return None
    factor = 100 if share else 1
    titles = list({title: (title, color, "-") for title, color, *_ in curves}.values())
    with style():
        # Each line of the legend takes room.
        figure, axis = _figure(2.1 + 0.17 * sum(1 + _wrapped(title).count("\n") for title, *_ in titles))
        for _, color, line, x, mean, sd in curves:
            step = max(1, math.ceil(len(x) / POINTS))
            marker = "o" if len(x) == 1 else None
            x, mean, sd = x[::step], factor * mean[::step], factor * sd[::step]
            axis.plot(x, mean, line, color=color, linewidth=1.6, marker=marker)
            if sd.any():
                axis.fill_between(x, mean - sd, mean + sd, color=color, alpha=0.15, linewidth=0)
        low, high = axis.get_ylim()
        axis.set_ylim((0, 103) if share else (min(0.98, low), max(top, high)))
        _finish(axis, "epoch", label)
        _legend(axis, titles, columns=1)
    return figure


Series = tuple[Sequence[float], Sequence[float]]


def _series(run: Run, name: str) -> Series:
    """Return a metric on validation data, or else on training data."""
    series = run.series(f"val_{name}")
    return series if series[0] else run.series(name)


def _over_seeds(several: Sequence[Series]) -> tuple[Floats, Floats, Floats]:
    """Return positions, means and standard deviations; where the positions differ, only those that all share."""
    known = [dict(zip(*series, strict=True)) for series in several if series[0]]
    if not known:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    x = [position for position in known[0] if all(position in series for series in known)]
    values = np.array([[series[position] for position in x] for series in known], dtype=np.float64)
    return np.array(x, dtype=np.float64), values.mean(axis=0), values.std(axis=0)


def _run_color(i: int) -> str:
    """Return the colour of a run: the first, to which the others are compared, is grey."""
    return PLAIN if i == 0 else METHODS[(i - 1) % len(METHODS)]


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0)
    axis = figure.subplots()
    axis.patch.set_alpha(0)
    return figure, axis


def _color(m: int) -> str:
    return MODALITIES[m % len(MODALITIES)]


def _label(axis: Axes, value: float, row: float, side: str, gap: float = 8) -> None:
    """Write a value beside a point, ``gap`` points to its left or right."""
    if not math.isnan(value):
        shift, anchor = (-gap, "right") if side == "left" else (gap, "left")
        options: dict[str, Any] = {"textcoords": "offset points", "ha": anchor, "va": "center", "color": INK}
        axis.annotate(f"{value:.0f}", (value, row), (shift, 0), **options)


def _line(axis: Axes, value: float, name: str, color: str, line: str) -> None:
    if math.isnan(value):
        return
    axis.axvline(value, color=color, linestyle=line, linewidth=1, zorder=1)
    transform = axis.get_xaxis_transform()
    axis.text(
        value, 1.02, f"{name} {value:.0f}", ha="center", va="bottom", color=color, fontsize=8, transform=transform
    )


def _bar(axis: Axes, row: float, share: float | None, height: float, color: str) -> None:
    if share is not None and not math.isnan(share):
        axis.barh(row, 100 * share, height, color=color)
        _label(axis, 100 * share, row, "right", gap=3)


def _rows(axis: Axes, names: Sequence[str], label: str, lowest: float) -> None:
    """Make the axes of a figure with a name for each row, and percent to the right."""
    axis.set_yticks(range(len(names)), [_wrapped(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.set_xticks(range(0, 101, 25))
    axis.set_xlim(lowest, 113)
    _finish(axis, label)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)


def _finish(axis: Axes, xlabel: str, ylabel: str = "") -> None:
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)


def _legend(axis: Axes, entries: Sequence[tuple[str, str, str]], columns: int | None = None) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for name, color, kind in entries:
        options = {"marker": "s", "linestyle": "none"} if kind == "s" else {"linestyle": kind}
        handles.append(Line2D([], [], color=color, label=_wrapped(name), **options))  # type: ignore[arg-type]
    figure = axis.figure
    assert figure is not None
    columns = columns or (2 if len(handles) != 3 else 3)
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=8, handlelength=1.8
    )


def _wrapped(name: str, width: int = 20, lines: int = 3) -> str:
    """Return a name over several lines; of one that is longer still, both ends, where names differ."""
    most = width * lines
    if len(name) > most:
        name = f"{name[: most // 2]}…{name[1 - most // 2 :]}"
    return "\n".join(textwrap.wrap(name, width) or [name])
