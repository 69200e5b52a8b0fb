"""How sure a difference between two methods is: over seeds, over splits, over tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

LEVEL = 0.05
"""Significance level of every test, and of the intervals."""


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, half of its 95 % interval, and the p-value of a two-sided t-test against zero; NaN for one run.

    Examples
    --------
    >>> print(Estimate(4.12, 0.96, 0.0001))
    4.1 ± 1.0
    """

    mean: float
    half_width: float
    p_value: float

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if math.isnan(self.half_width) else f"{self.mean:.1f} ± {self.half_width:.1f}"

    @property
    def lower(self) -> float:
        """The lower end of the interval; the mean itself for one run."""
        return self.mean - (0 if math.isnan(self.half_width) else self.half_width)

    @property
    def signed(self) -> str:
        """The mean with its sign, and the half width."""
        return f"{'+' if self.mean >= 0 else ''}{self}"


def estimate(values: Sequence[float], splits: int = 1) -> Estimate:
    """Return mean and interval over runs.

    Over several splits, runs share most of their training samples: their variance says too little. It is multiplied by
    (1 / n + N_test / N_rest) instead of 1 / n, the rest being what is not tested (Nadeau and Bengio, Machine Learning
    2003; for repeated cross-validation Bouckaert and Frank, PAKDD 2004). With ``splits`` parts of which one is tested,
    N_test / N_rest is 1 / (splits - 1). With 1 all runs have the same test samples, which the interval takes as given.

    Examples
    --------
    >>> print(estimate([1.0, 2.0, 3.0]), estimate([1.0, 2.0, 3.0], splits=5))
    2.0 ± 2.5 2.0 ± 3.3
    """
    from scipy.stats import t

    count, mean = len(values), fmean(values)
    if count < 2:
        return Estimate(mean, math.nan, math.nan)
    factor = 1 / count + (1 / (splits - 1) if splits > 1 else 0)
    error = math.sqrt(factor * float(np.var(values, ddof=1)))
    half = float(t.ppf(1 - LEVEL / 2, count - 1)) * error
    p_value = (1.0 if mean == 0 else 0.0) if error == 0 else float(2 * t.sf(abs(mean) / error, count - 1))
    return Estimate(mean, half, p_value)


def beyond_noise(estimates: Mapping[str, Estimate]) -> dict[str, bool]:
    """Return which of several differences are not noise, by Holm's correction: one false alarm in 20 comparisons.

    Examples
    --------
    >>> beyond_noise({"a": Estimate(1, 0.9, 0.04), "b": Estimate(3, 1, 0.001)})
    {'a': True, 'b': True}
    >>> beyond_noise({"a": Estimate(1, 0.9, 0.04), "b": Estimate(1, 1, 0.05)})
    {'a': False, 'b': False}
    """
    from statsmodels.stats.multitest import multipletests

    known = {name: e.p_value for name, e in estimates.items() if not math.isnan(e.p_value)}
    rejected = multipletests(list(known.values()), LEVEL, method="holm")[0] if known else []
    return {**dict.fromkeys(estimates, False), **dict(zip(known, map(bool, rejected), strict=True))}
