"""The mean of diagnoses: one method, several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from midas_core.diagnostics.calibration import Bin
from midas_core.diagnostics.diagnosis import Diagnosis, ModalityScores


def average(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """Return the mean of diagnoses of the same modalities on the same data; None where one of them has None."""
    if not diagnoses:
        raise ValueError("diagnoses: expected at least one, got none")
    first = diagnoses[0]
    if any(diagnosis.names != first.names for diagnosis in diagnoses):
        raise ValueError(f"diagnoses: expected the modalities {list(first.names)} in all, got others")
    if len(diagnoses) == 1:
        return first
    nothing = {"sample_shapley": np.zeros((0, 0)), "sample_indices": np.zeros(0, np.int64)}
    mean: Diagnosis = _average([replace(diagnosis, **nothing) for diagnosis in diagnoses])  # type: ignore[arg-type]
    return mean


def _average(values: Sequence[Any]) -> Any:
    """Return the mean of numbers, or of dataclasses and tuples of numbers."""
    first = values[0]
    if any(x is None for x in values):
        return None
    if isinstance(first, Bin):
        return _average_bin(values)
    if is_dataclass(first):
        means = {x.name: _average([getattr(value, x.name) for value in values]) for x in fields(first)}
        if isinstance(first, ModalityScores):
            histograms = [x.similarity for x in values]
            same = len({len(x) for x in histograms}) == 1
            means["similarity"] = tuple(map(sum, zip(*histograms, strict=True))) if same else ()
        return replace(first, **means)  # type: ignore[type-var]
    if isinstance(first, tuple):
        same = len({tuple(getattr(x, "name", None) for x in value) for value in values}) == 1
        return tuple(map(_average, zip(*values, strict=True))) if same else ()
    if isinstance(first, int | float) and not isinstance(first, bool):
        return min(values) if isinstance(first, int) else fmean(values)
    return first


def _average_bin(bins: Sequence[Bin]) -> Bin:
    filled = [x for x in bins if x.count]
    total = sum(x.count for x in filled)
    confidence, accuracy = (
        sum(x.count * getattr(x, key) for x in filled) / total if total else float("nan")
        for key in ("confidence", "accuracy")
    )
    return Bin(bins[0].low, bins[0].high, total, confidence, accuracy)
