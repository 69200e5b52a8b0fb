"""The mean of diagnoses: one method, several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from statistics import fmean
from typing import Any

import numpy as np

from midas_core.diagnostics.calibration import Bin
from midas_core.diagnostics.results import ClassScores, Diagnosis, ModalityScores

SMALLEST = ("samples", "kept", "pairs")
"""Of these the smallest counts: other seeds see the same samples, and make no noise smaller."""


def average(found: Sequence[Diagnosis]) -> Diagnosis:
    """Return the mean of diagnoses of the same modalities on the same data.

    Parameters
    ----------
    found : sequence of Diagnosis
        At least one.

    Returns
    -------
    Diagnosis
        What one of them lacks is None; without the values of single samples.

    Raises
    ------
    ValueError
        If there is none, or the modalities differ.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core.diagnostics import diagnose
    >>> labels = np.arange(60) % 3
    >>> one = diagnose(lambda x: x[:, :3], [np.eye(3)[labels]] * 2, labels, num_classes=3, probe=False)
    >>> none = diagnose(lambda x: 0 * x[:, :3], [np.eye(3)[labels]] * 2, labels, num_classes=3, probe=False)
    >>> round(average([one, none]).accuracy, 3)
    0.667
    """
    if not found:
        raise ValueError("found: expected at least one diagnosis, got none")
    first = found[0]
    if len(found) == 1:
        return first
    if any(each.names != first.names for each in found):
        raise ValueError(f"found: expected the modalities {list(first.names)} in all, got others")
    counts = {key: min(getattr(each, key) for each in found) for key in SMALLEST}
    numbers = {
        each.name: _mean([getattr(x, each.name) for x in found])
        for each in fields(Diagnosis)
        if isinstance(getattr(first, each.name), float)
    }
    modalities = tuple(_modality(each) for each in zip(*(x.modalities for x in found), strict=True))
    merged: dict[str, Any] = {**counts, **numbers, "modalities": modalities}
    same = len({tuple(c.name for c in x.classes) for x in found}) == 1
    merged["classes"] = tuple(_class(each) for each in zip(*(x.classes for x in found), strict=True)) if same else ()
    merged["reliability"] = tuple(_bin(each) for each in zip(*(x.reliability for x in found), strict=False))
    # The interval of one seed says nothing of the mean of several.
    merged["misaligned_interval"] = None
    return replace(first, **merged, sample_shapley=np.zeros((0, 0)), sample_indices=np.zeros(0, np.int64))


def _mean(values: Sequence[Any]) -> float | None:
    return None if any(x is None for x in values) else fmean(values)


def _modality(each: Sequence[ModalityScores]) -> ModalityScores:
    keys = [x.name for x in fields(ModalityScores) if x.name not in ("name", "similarity")]
    numbers: dict[str, Any] = {key: _mean([getattr(x, key) for x in each]) for key in keys}
    histograms = [x.similarity for x in each]
    alike = len({len(x) for x in histograms}) == 1
    return ModalityScores(
        each[0].name, **numbers, similarity=tuple(map(sum, zip(*histograms, strict=True))) if alike else ()
    )


def _class(each: Sequence[ClassScores]) -> ClassScores:
    def means(key: str) -> tuple[float, ...]:
        return tuple(map(fmean, zip(*(getattr(x, key) for x in each), strict=True)))

    count, recall = min(x.count for x in each), fmean(x.recall for x in each)
    return ClassScores(each[0].name, count, recall, means("recall_alone"), means("shapley"))


def _bin(each: Sequence[Bin]) -> Bin:
    filled = [x for x in each if x.count]
    total = sum(x.count for x in filled)

    def mean(key: str) -> float:
        return sum(x.count * getattr(x, key) for x in filled) / total if total else float("nan")

    return Bin(each[0].low, each[0].high, total, mean("confidence"), mean("accuracy"))
