"""How the cost of a step grows with the batch, the classes and the modalities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.steps import midas_loss, training_step
from benchmarks.timing import interleave

TARGET = 1.05


class Curve(NamedTuple):
    """The cost along one axis.

    Attributes
    ----------
    axis : str
    fixed : str
        What the others are.
    values : list of int
    seconds : list of lists of float
        For each round, in the order of the values.
    """

    axis: str
    fixed: str
    values: list[int]
    seconds: list[list[float]]

    @property
    def medians(self) -> list[float]:
        """Over the rounds."""
        return [float(x) for x in np.median(self.seconds, axis=0)]

    def exponent(self) -> tuple[float, float, float]:
        """Return the slope of log(seconds) over log(value), of the medians, and its quartiles over the rounds."""
        each = [slope(self.values, times) for times in self.seconds]
        low, high = np.quantile(each, [0.25, 0.75])
        return slope(self.values, self.medians), float(low), float(high)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the exponent of the power law through the points, by least squares of the logarithms."""
    return float(np.polynomial.Polynomial.fit(np.log(x), np.log(y), 1).convert().coef[1])


def measure(settings: Settings) -> list[Result]:
    """Time MIDAS steps along each axis, fit the exponents and draw them."""
    if settings.quick:
        base, batches, classes, modalities = Size(16, 10, 8), [8, 16], [5, 10], [2, 3]
    else:
        base = Size(512, 400, 512)
        batches, classes = [256, 512, 1024, 2048, 4096], [250, 500, 1000, 2000, 4000]
        modalities = [2, 3, 4, 6, 8]
    curves = [
        _curve("B", [base._replace(batch=n) for n in batches], batches, settings),
        _curve("C", [base._replace(classes=n) for n in classes], classes, settings),
        _curve("M", [base._replace(modalities=n) for n in modalities], modalities, settings),
    ]
    draw_figure(curves, settings.output / "scaling.png")
    return [
        Result(f"exponent of {c.axis} in {c.values[0]} ... {c.values[-1]}", c.fixed, *c.exponent(), TARGET, "exponent")
        for c in curves
    ]


def _curve(axis: str, sizes: list[Size], values: list[int], settings: Settings) -> Curve:
    settings.report(f"scaling with {axis}")
    problems = [Problem(size, settings.device) for size in sizes]
    steps = {str(n): training_step(p, midas_loss(p)) for n, p in zip(values, problems, strict=True)}
    times = interleave(steps, settings.effort)
    names = {"B": "batch", "C": "classes", "M": "modalities"}
    symbols = {"batch": "B", "classes": "C", "width": "D", "modalities": "M"}
    fixed = [f"{symbols[k]} = {v}" for k, v in sizes[0]._asdict().items() if k != names[axis]]
    return Curve(axis, ", ".join(fixed), values, [list(row) for row in zip(*times.seconds.values(), strict=True)])


def draw_figure(curves: Sequence[Curve], path: Path) -> None:
    """Draw the curves, with the line of the fit, into a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axis, curve in zip(figure.subplots(1, len(curves), sharey=True), curves, strict=True):
        exponent = curve.exponent()[0]
        middle = np.exp(np.mean(np.log(curve.medians)))
        line = middle * (np.array(curve.values) / np.exp(np.mean(np.log(curve.values)))) ** exponent
        axis.loglog(curve.values, 1e3 * line, color="#0072B2", linewidth=1.2, label=f"{curve.axis}^{exponent:.2f}")
        axis.loglog(curve.values, 1e3 * np.array(curve.medians), "o", color="#D55E00", markersize=5, label="median")
        axis.set(title=curve.fixed, xlabel=curve.axis)
        axis.set_xticks(curve.values, [str(n) for n in curve.values])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.legend(frameon=False)
    figure.axes[0].set_ylabel("MIDAS step, ms")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
