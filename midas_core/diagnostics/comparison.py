"""The answer in words: did one model repair what another ignores, and at what price."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from midas_core.diagnostics.judgement import (
    CALIBRATION,
    FEW,
    at_chance,
    badly_used,
    beyond_noise,
    blind,
    diverged,
    two_errors,
)
from midas_core.diagnostics.results import Diagnosis, ModalityScores
from midas_core.diagnostics.verdict import verdict
from midas_core.diagnostics.wording import listed, percent, points

REPAIRED, PARTLY = 2 / 3, 1 / 3
"""Share of the unused accuracy that has been won."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one model to another, in words.

    Attributes
    ----------
    status : {"repaired", "partly", "no", "nothing to repair", "unclear"}
        "partly" too where one modality is repaired and another is not.
    headline : str
        What was repaired, what was not, and what got better or worse beside it.
    repairs : dict by modality of {"repaired", "partly", "no"}
        Of those that were not used as they could be.
    costs : tuple of str
        What got worse, beyond noise.
    findings : tuple of str
    """

    status: str
    headline: str
    repairs: dict[str, str] = field(default_factory=dict)
    costs: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {**asdict(self), "costs": list(self.costs), "findings": list(self.findings)}


def compare(before: Diagnosis, after: Diagnosis, *, names: tuple[str, str] = ("before", "after")) -> Comparison:
    """Say whether one model repairs what another ignores, and at what price; both measured on the same samples.

    Parameters
    ----------
    before, after : Diagnosis
    names : pair of str
        What to call the models.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the modalities differ.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core.diagnostics import diagnose
    >>> labels = np.arange(60) % 3
    >>> features = {"audio": np.eye(3)[labels], "video": np.eye(3)[labels]}
    >>> joint = diagnose(lambda x: 9 * x[:, :3], features, labels, num_classes=3)
    >>> midas = diagnose(lambda x: 9 * (x[:, :3] + x[:, 3:]), features, labels, num_classes=3)
    >>> compare(joint, midas, names=("joint", "midas")).findings[3]
    'With video alone: 33 % to 100 % (+66.7 points ± 12.2).'
    """
    if before.names != after.names:
        raise ValueError(f"after: expected the modalities {list(before.names)}, got {list(after.names)}")
    size = min(before.kept, after.kept)
    findings = tuple(_findings(before, after, size))
    if size >= FEW:
        for each, name in ((before, names[0]), (after, names[1])):
            if diverged(each) or at_chance(each):
                text = f"{name} is at chance: there is nothing to compare."
                return Comparison("unclear", text, findings=findings)
    found = verdict(before)
    if size < FEW or found.status == "unclear":
        return Comparison("unclear", f"{size} samples, or what was measured, do not tell.", findings=findings)
    gains, costs = _changes(before, after, size)
    beside = _beside(gains, costs)
    if found.status == "balanced":
        text = f"{names[0]} ignored no modality: there was nothing to repair.{beside}"
        return Comparison("nothing to repair", text, {}, costs, findings)
    repairs, said = {}, []
    for a in badly_used(before, found.uses):
        b = next(each for each in after.modalities if each.name == a.name)
        if found.uses[a.name] == "overruled":
            repairs[a.name], text = _heard(before, after, a.name, size)
        else:
            repairs[a.name], text = _won(a, b, size)
        said.append(text)
    kinds = set(repairs.values())
    status = kinds.pop() if len(kinds) == 1 else "partly"
    return Comparison(status, f"{names[1]} {listed(said)}.{beside}", repairs, costs, findings)


def _won(a: ModalityScores, b: ModalityScores, size: int) -> tuple[str, str]:
    """Compare by the accuracy with the modality alone, and what is within its reach."""
    # Against one goal: an encoder that MIDAS has improved also raises what is within reach.
    goal = max(a.available or 0.0, b.available or 0.0, b.accuracy_alone)
    won = (b.accuracy_alone - a.accuracy_alone) / (goal - a.accuracy_alone)
    real = beyond_noise(a.accuracy_alone, b.accuracy_alone, size) and b.accuracy_alone > a.accuracy_alone
    status = "repaired" if won >= REPAIRED and real else "partly" if won >= PARTLY and real else "no"
    said = {"repaired": "repairs", "partly": "partly repairs", "no": "does not repair"}[status]
    return status, (
        f"{said} the use of {a.name} (by itself {percent(a.accuracy_alone)} to {percent(b.accuracy_alone)}, of "
        f"{percent(goal)} within reach)"
    )


def _heard(before: Diagnosis, after: Diagnosis, name: str, size: int) -> tuple[str, str]:
    """Compare by the misaligned accuracy: the modality is heard where its class is among the top predictions."""
    a, b = before.misaligned_accuracy or 0.0, after.misaligned_accuracy or 0.0
    won = b > a and beyond_noise(a, b, size)
    status = "repaired" if won and not blind(after) else "partly" if won else "no"
    said = {"repaired": "hears", "partly": "hears more of", "no": "does not hear"}[status]
    return status, (
        f"{said} {name} where the modalities disagree (it names all their classes in {percent(b)} of the samples, "
        f"after {percent(a)})"
    )


def _shares(before: Diagnosis, after: Diagnosis) -> Mapping[str, tuple[float, float]]:
    """Return what is compared, before and after, without what was not measured."""
    found = {"Aligned accuracy": (before.accuracy, after.accuracy)}
    if before.misaligned_accuracy is not None and after.misaligned_accuracy is not None:
        found["Misaligned accuracy"] = before.misaligned_accuracy, after.misaligned_accuracy
    for a, b in zip(before.modalities, after.modalities, strict=True):
        found[f"With {a.name} alone"] = a.accuracy_alone, b.accuracy_alone
    return found


def _changes(before: Diagnosis, after: Diagnosis, size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what got better and what got worse, beyond noise; of what got better only the accuracy."""
    gains, costs = [], []
    for what, (a, b) in _shares(before, after).items():
        if beyond_noise(a, b, size):
            text = f"{what[0].lower()}{what[1:]} {points(b - a)}"
            if b < a:
                costs.append(text)
            elif what == "Aligned accuracy":
                gains.append(text)
    rise = after.calibration_error - before.calibration_error
    if rise >= CALIBRATION:
        costs.append(f"calibration error {points(rise)}")
    return tuple(gains), tuple(costs)


def _beside(gains: tuple[str, ...], costs: tuple[str, ...]) -> str:
    """Return what else got better or worse, as the end of a headline."""
    text = f" Better: {listed(gains)}." if gains else ""
    return f"{text} It costs: {listed(costs)}." if costs else text


def _findings(before: Diagnosis, after: Diagnosis, size: int) -> list[str]:
    found = [_change(what, a, b, size) for what, (a, b) in _shares(before, after).items()]
    a, b = before.calibration_error, after.calibration_error
    if not math.isnan(a) and not math.isnan(b):
        found.append(f"Calibration error: {100 * a:.1f} % to {100 * b:.1f} % ({points(b - a)}).")
    return found


def _change(what: str, a: float, b: float, size: int) -> str:
    if math.isnan(a) or math.isnan(b):
        return f"{what}: {percent(a)} to {percent(b)}."
    noise = math.hypot(two_errors(a, size), two_errors(b, size))
    sure = "" if abs(b - a) > noise else ", within noise"
    return f"{what}: {percent(a)} to {percent(b)} ({points(b - a)} ± {100 * noise:.1f}{sure})."
