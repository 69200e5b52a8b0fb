"""The difference of two models in words: did one repair what the other ignores, and at what price."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from midas_core.diagnostics.diagnosis import Diagnosis, Measured
from midas_core.diagnostics.verdict import (
    at_chance,
    badly_used,
    beyond_noise,
    blind,
    diverged,
    enough,
    listed,
    percent,
    points,
    two_errors,
    verdict,
)
from midas_core.files import plain

REPAIRED, PARTLY = 2 / 3, 1 / 3
"""Share of the unused accuracy that has been won."""
CALIBRATION = 0.02
"""Calibration error, from which a difference counts: the error of a calibrated model on some hundred samples."""


@dataclass(frozen=True)
class Comparison:
    """The changes from one model to another, in words.

    Attributes
    ----------
    status : {"repaired", "partly", "no", "nothing to repair", "unclear"}
        "partly" too where one modality is repaired and another is not.
    headline : str
        The repairs, and what got better or worse beside them.
    repairs : dict by modality of {"repaired", "partly", "no"}
        Only the modalities that were not used as they could be.
    costs, findings : tuple of str
        Everything that got worse, beyond noise; and all the numbers.
    """

    status: str
    headline: str
    repairs: dict[str, str] = field(default_factory=dict)
    costs: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {key: plain(value) for key, value in vars(self).items()}


def compare(before: Diagnosis, after: Diagnosis, *, names: tuple[str, str] = ("before", "after")) -> Comparison:
    """Say whether one model repairs what another ignores, and at what price; both measured on the same samples.

    Parameters
    ----------
    before, after : Diagnosis
    names : pair of str
        Names of the models in the sentences.

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
    changes = list(_changes(before, after))
    a, b = before.calibration_error, after.calibration_error
    findings = [change.text for change in changes]
    if not math.isnan(a) and not math.isnan(b):
        findings.append(f"Calibration error: {100 * a:.1f} % to {100 * b:.1f} % ({points(b - a)}).")
    if enough(before) and enough(after):
        for diagnosis, name in ((before, names[0]), (after, names[1])):
            if diverged(diagnosis) or at_chance(diagnosis):
                text = f"{name} is at chance: there is nothing to compare."
                return Comparison("unclear", text, findings=tuple(findings))
    judged = verdict(before)
    if not (enough(before) and enough(after)) or judged.status == "unclear":
        size = min(before.kept, after.kept)
        text = f"The comparison is unclear: {size} samples, or what was measured on them, do not tell."
        return Comparison("unclear", text, findings=tuple(findings))
    costs = [f"{change.what} {points(change.difference)}" for change in changes if change.worse]
    if b - a >= CALIBRATION:
        costs.append(f"calibration error {points(b - a)}")
    beside = _beside(changes[0], costs)
    if judged.status == "balanced":
        text = f"{names[0]} ignored no modality: there was nothing to repair.{beside}"
        return Comparison("nothing to repair", text, {}, tuple(costs), tuple(findings))
    repairs, sentences = {}, []
    scales = before.measured, after.measured_in(before.measured.unit)
    for name in badly_used(scales[0], judged.uses):
        if judged.uses[name] == "overruled":
            repairs[name], text = _heard(before, after, name)
        else:
            repairs[name], text = _won(name, *scales)
        sentences.append(text)
    kinds = set(repairs.values())
    status = kinds.pop() if len(kinds) == 1 else "partly"
    return Comparison(status, f"{names[1]} {listed(sentences)}.{beside}", repairs, tuple(costs), tuple(findings))


def _won(name: str, before: Measured, after: Measured) -> tuple[str, str]:
    """Compare by the accuracy with the modality alone, and what is within its reach."""
    a, b, size = before.alone[name], after.alone[name], min(before.samples, after.samples)
    # Against one goal: an encoder that MIDAS has improved also raises what is within reach.
    goal = max(before.available[name] or 0.0, after.available[name] or 0.0, b)
    won = (b - a) / (goal - a)
    real = beyond_noise(a, b, size) and b > a
    status = "repaired" if won >= REPAIRED and real else "partly" if won >= PARTLY and real else "no"
    verb = {"repaired": "repairs", "partly": "partly repairs", "no": "does not repair"}[status]
    numbers = f"by itself {percent(a)} to {percent(b)}, of {percent(goal)} within reach"
    return status, f"{verb} the use of {name} ({numbers})"


def _heard(before: Diagnosis, after: Diagnosis, name: str) -> tuple[str, str]:
    """Compare by the misaligned accuracy: the modality is heard where its class is among the top predictions."""
    a, b = before.misaligned_accuracy or 0.0, after.misaligned_accuracy or 0.0
    won = b - a > math.hypot(_misaligned_noise(before), _misaligned_noise(after))
    status = "repaired" if won and not blind(after) else "partly" if won else "no"
    verb = {"repaired": "hears", "partly": "hears more of", "no": "does not hear"}[status]
    return status, (
        f"{verb} {name} where the modalities disagree (it names all their classes in {percent(b)} of the samples, "
        f"after {percent(a)})"
    )


class _Change(NamedTuple):
    """A share before and after; ``noise`` is two standard errors of the difference."""

    what: str
    before: float
    after: float
    noise: float

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def worse(self) -> bool:
        return self.difference < -self.noise

    @property
    def text(self) -> str:
        start = f"{self.what[0].upper()}{self.what[1:]}: {percent(self.before)} to {percent(self.after)}"
        if math.isnan(self.difference):
            return f"{start}."
        sure = "" if abs(self.difference) > self.noise else ", within noise"
        return f"{start} ({points(self.difference)} ± {100 * self.noise:.1f}{sure})."


def _changes(before: Diagnosis, after: Diagnosis) -> Iterator[_Change]:
    """Yield what is compared, the aligned accuracy first; without what was not measured."""

    def change(what: str, a: float, b: float, samples: float) -> _Change:
        return _Change(what, a, b, math.hypot(two_errors(a, samples), two_errors(b, samples)))

    size = min(before.kept, after.kept)
    yield change("aligned accuracy", before.accuracy, after.accuracy, size)
    unit = before.measured.unit if before.measured.unit == after.measured.unit else "accuracy"
    one, other = before.measured_in(unit), after.measured_in(unit)
    samples = min(one.samples, other.samples)
    if unit == "recall":
        yield change("recall averaged over classes", one.fused, other.fused, samples)
    if before.misaligned_accuracy is not None and after.misaligned_accuracy is not None:
        noise = math.hypot(_misaligned_noise(before), _misaligned_noise(after))
        yield _Change("misaligned accuracy", before.misaligned_accuracy, after.misaligned_accuracy, noise)
    for name in before.names:
        end = "" if unit == "accuracy" else " (recall)"
        yield change(f"with {name} alone{end}", one.alone[name], other.alone[name], samples)


def _misaligned_noise(diagnosis: Diagnosis) -> float:
    """Return half of the interval of the misaligned accuracy, as the report shows it."""
    if diagnosis.misaligned_interval is None:
        return two_errors(diagnosis.misaligned_accuracy or 0.0, diagnosis.kept)
    low, high = diagnosis.misaligned_interval
    return (high - low) / 2


def _beside(accuracy: _Change, costs: list[str]) -> str:
    """Return what else got better or worse, as the end of a headline."""
    text = ""
    if accuracy.difference > accuracy.noise:
        text = f" Better: aligned accuracy {points(accuracy.difference)}."
    elif abs(accuracy.difference) <= accuracy.noise:
        text = f" Accuracy unchanged ({100 * accuracy.difference:+.1f} ± {100 * accuracy.noise:.1f} points)."
    return f"{text} It costs: {listed(costs)}." if costs else text
