"""The answer in words: did one model repair what another ignores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from midas_core.diagnostics.results import Diagnosis
from midas_core.diagnostics.verdict import (
    FEW,
    beyond_noise,
    blind,
    percent,
    points,
    two_errors,
    verdict,
    weakest,
)

REPAIRED, PARTLY = 2 / 3, 1 / 3
"""Share of the unused accuracy that has been won."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one model to another, in words.

    Attributes
    ----------
    status : {"repaired", "partly", "no", "nothing to repair", "unclear"}
    headline : str
    weak : str or None
        The modality that was used least of what it could give.
    findings : tuple of str
    """

    status: str
    headline: str
    weak: str | None
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {**asdict(self), "findings": list(self.findings)}


def compare(before: Diagnosis, after: Diagnosis, *, names: tuple[str, str] = ("before", "after")) -> Comparison:
    """Say whether one model repairs what another ignores; both measured on the same samples.

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
    """
    if before.names != after.names:
        raise ValueError(f"after: expected the modalities {list(before.names)}, got {list(after.names)}")
    size = min(before.kept, after.kept)
    findings = [_change("Aligned accuracy", before.accuracy, after.accuracy, size)]
    if before.misaligned_accuracy is not None and after.misaligned_accuracy is not None:
        findings.append(_change("Misaligned accuracy", before.misaligned_accuracy, after.misaligned_accuracy, size))
    for a, b in zip(before.modalities, after.modalities, strict=True):
        findings.append(_change(f"With {a.name} alone", a.accuracy_alone, b.accuracy_alone, size))
    found = verdict(before)
    if size < FEW or found.status == "unclear":
        return Comparison("unclear", f"{size} samples, or what was measured, do not tell.", None, tuple(findings))
    if found.status == "balanced":
        headline = f"{names[0]} ignored no modality: there was nothing to repair."
        return Comparison("nothing to repair", headline, None, tuple(findings))

    weak = weakest(before, found.uses)
    a, b = before.modalities[weak], after.modalities[weak]
    if found.uses[a.name] == "overruled":
        return _conflicts(before, after, a.name, size, names, findings)
    # Against one goal: an encoder that MIDAS has improved also raises what is within reach.
    goal = max(a.available or 0.0, b.available or 0.0, b.accuracy_alone)
    won = (b.accuracy_alone - a.accuracy_alone) / (goal - a.accuracy_alone)
    real = beyond_noise(a.accuracy_alone, b.accuracy_alone, size) and b.accuracy_alone > a.accuracy_alone
    status = "repaired" if won >= REPAIRED and real else "partly" if won >= PARTLY and real else "no"
    said = {"repaired": "repairs", "partly": "partly repairs", "no": "does not repair"}[status]
    headline = (
        f"{names[1]} {said} the use of {a.name}: by itself it takes the model from {percent(a.accuracy_alone)} to "
        f"{percent(b.accuracy_alone)}, of {percent(goal)} within reach."
    )
    if after.accuracy < before.accuracy and beyond_noise(before.accuracy, after.accuracy, size):
        headline += f" It costs accuracy: {points(after.accuracy - before.accuracy)}."
    return Comparison(status, headline, a.name, tuple(findings))


def _conflicts(
    before: Diagnosis, after: Diagnosis, name: str, size: int, names: tuple[str, str], findings: list[str]
) -> Comparison:
    """Compare by the misaligned accuracy: the modality is heard where its class is among the top predictions."""
    a, b = before.misaligned_accuracy or 0.0, after.misaligned_accuracy or 0.0
    won = b > a and beyond_noise(a, b, size)
    status = "repaired" if won and not blind(after) else "partly" if won else "no"
    said = {"repaired": "hears", "partly": "hears more of", "no": "does not hear"}[status]
    headline = (
        f"{names[1]} {said} {name} where the modalities disagree: it names all their classes in {percent(b)} of the "
        f"samples, after {percent(a)}."
    )
    return Comparison(status, headline, name, tuple(findings))


def _change(what: str, a: float, b: float, size: int) -> str:
    if math.isnan(a) or math.isnan(b):
        return f"{what}: {percent(a)} to {percent(b)}."
    noise = math.hypot(two_errors(a, size), two_errors(b, size))
    sure = "" if abs(b - a) > noise else ", within noise"
    return f"{what}: {percent(a)} to {percent(b)} ({points(b - a)} ± {100 * noise:.1f}{sure})."
