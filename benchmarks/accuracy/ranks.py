"""Average ranks over the tasks, and which of them differ (Demsar, JMLR 2006)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods.

    Attributes
    ----------
    mean : dict of float by method
        1 is the best; from the best to the worst.
    critical_difference : float
        Ranks that are further apart differ at the 5 % level, by Nemenyi's test; NaN for fewer than two tasks.
    p_value : float
        Of Friedman's test that all methods are alike; NaN for fewer than three methods or two tasks.
    """

    mean: dict[str, float]
    critical_difference: float
    p_value: float

    def groups(self) -> list[list[str]]:
        """Return the largest groups of methods that do not differ, two or more each."""
        names = list(self.mean)
        found: list[list[str]] = []
        for i, first in enumerate(names):
            group = [name for name in names[i:] if self.mean[name] - self.mean[first] <= self.critical_difference]
            if len(group) > 1 and not any(set(group) <= set(other) for other in found):
                found.append(group)
        return found


def rank(values: Mapping[str, Sequence[float]]) -> Ranks:
    """Rank methods on each task, the highest value first, ties sharing their mean rank.

    Parameters
    ----------
    values : dict of sequence by method
        One value for each task.

    Examples
    --------
    >>> found = rank({"a": [0.9, 0.8, 0.9], "b": [0.8, 0.9, 0.8], "c": [0.1, 0.2, 0.3]})
    >>> {name: round(each, 2) for name, each in found.mean.items()}
    {'a': 1.33, 'b': 1.67, 'c': 3.0}
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.array(list(values.values()))  # (methods, tasks)
    count, tasks = table.shape
    means = rankdata(-table, axis=0).mean(axis=1)
    order = np.argsort(means, kind="stable")
    names = list(values)
    difference = p_value = math.nan
    if tasks > 1 and count > 1:
        quantile = studentized_range.ppf(0.95, count, np.inf) / math.sqrt(2)
        difference = float(quantile * math.sqrt(count * (count + 1) / (6 * tasks)))
    if tasks > 1 and count > 2:
        p_value = float(friedmanchisquare(*table).pvalue)
    return Ranks({names[i]: float(means[i]) for i in order}, difference, p_value)
