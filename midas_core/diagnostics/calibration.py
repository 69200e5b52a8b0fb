"""Whether a model is as often right as it is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bin:
    """The samples whose top probability lies in one interval.

    Attributes
    ----------
    low, high : float
        low < confidence <= high; the first bin holds 0 as well.
    count : int
    confidence, accuracy : float
        Means over these samples; NaN for none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def mean(values: NDArray[Any]) -> float:
    """Return the mean in float64, NaN of nothing."""
    return float(values.astype(np.float64).mean()) if values.size else float("nan")


def reliability_bins(confidence: NDArray[Any], correct: NDArray[Any], *, bins: int = 10) -> tuple[Bin, ...]:
    """Return the samples in equal intervals of their top probability.

    Parameters
    ----------
    confidence : array, shape (N,), floating
    correct : array, shape (N,), bool
    bins : int

    Returns
    -------
    tuple of Bin
        A confidence that is NaN belongs to none.

    Examples
    --------
    >>> import numpy as np
    >>> bins = reliability_bins(np.array([0.6, 0.9, 0.8]), np.array([False, True, True]), bins=2)
    >>> [x.count for x in bins], round(bins[1].accuracy, 2)
    ([0, 3], 0.67)
    """
    result = []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        # Rounding may carry the top probability past one.
        inside = ((confidence > low) | (i == 0)) & ((confidence <= high) | ((i == bins - 1) & (confidence > low)))
        result.append(Bin(low, high, int(inside.sum()), mean(confidence[inside]), mean(correct[inside])))
    return tuple(result)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap of accuracy and confidence.

    Parameters
    ----------
    bins : sequence of Bin
        From `reliability_bins`.

    Returns
    -------
    float
        NaN without samples.

    Examples
    --------
    >>> import numpy as np
    >>> bins = reliability_bins(np.array([0.6, 0.9, 0.9]), np.array([False, True, True]))
    >>> round(calibration_error(bins), 2)
    0.27
    """
    total = sum(x.count for x in bins)
    gaps = [x.count * abs(x.accuracy - x.confidence) for x in bins if x.count]
    return sum(gaps) / total if total else float("nan")
