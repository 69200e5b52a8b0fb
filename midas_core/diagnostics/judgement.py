"""What the numbers of a diagnosis decide: thresholds, noise, and the use of each modality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from midas_core.diagnostics.results import Diagnosis, ModalityScores

UNUSED = 0.10
"""Accuracy that a modality could give and does not, from which it counts as underused."""
IGNORED = 0.5
"""Share of what a modality could give above chance, below which it counts as ignored."""
DOMINANT = 1.5
"""Times the fair share 1 / M of the Shapley values, from which a modality dominates."""
INFORMATIVE = 0.05
"""Accuracy above chance, below which a modality, or a model, knows nothing."""
BLIND = 0.5
"""Misaligned over aligned accuracy, below which a model does not notice that its modalities disagree."""
OVERRULED = 0.2
"""Times the fair share 1 / M of the conflicts that are decided for a modality, below which it is overruled."""
COMPARABLE = 0.75
"""Of the best available accuracy, above which a modality should not be overruled."""
FEW = 100
"""Samples, below which two standard errors of an accuracy may exceed `UNUSED`."""
CALIBRATION = 0.02
"""Calibration error, from which a difference counts: that of a calibrated model on some hundred samples."""

WORST_FIRST = ("ignored", "underused", "overruled")


def two_errors(share: float, samples: int) -> float:
    """Return two standard errors of a share of independent samples."""
    return 2 * math.sqrt(max(share * (1 - share), 0.0) / samples) if samples else math.inf


def beyond_noise(a: float, b: float, samples: int) -> bool:
    """Return whether two shares differ by more than two standard errors."""
    return abs(a - b) > math.hypot(two_errors(a, samples), two_errors(b, samples))


def diverged(diagnosis: Diagnosis) -> bool:
    """Return whether no sample has finite logits."""
    return math.isnan(diagnosis.calibration_error) or math.isnan(diagnosis.accuracy)


def at_chance(diagnosis: Diagnosis) -> bool:
    """Return whether a model does no better than one that knows nothing.

    Where one class is frequent a model may know much and be right no more often than that class occurs: then the mean
    recall of the classes decides.
    """
    if _above(diagnosis.accuracy, diagnosis.chance, diagnosis.kept):
        return False
    counted = [each for each in diagnosis.classes if each.count]
    if len(counted) < 2:
        return True
    error = 2 * math.sqrt(sum(x.recall * (1 - x.recall) / x.count for x in counted)) / len(counted)
    above = fmean(each.recall for each in counted) - 1 / len(counted)
    return not (above >= INFORMATIVE and above > error)


def _above(accuracy: float, chance: float, samples: int) -> bool:
    """Return whether an accuracy exceeds chance, by more than noise and by enough."""
    return accuracy - chance >= INFORMATIVE and beyond_noise(accuracy, chance, samples)


def use_of(scores: ModalityScores, diagnosis: Diagnosis) -> str:
    """Return how a modality is used: one of the values of `Verdict.uses`."""
    available, alone, size = scores.available, scores.accuracy_alone, diagnosis.kept
    if available is None or math.isnan(alone):
        return "unknown"
    if not _above(available, diagnosis.chance, size):
        return "uninformative"
    if available - alone < UNUSED or not beyond_noise(available, alone, size):
        return "overruled" if _overruled(scores, diagnosis) else "used"
    return "ignored" if (alone - diagnosis.chance) / (available - diagnosis.chance) < IGNORED else "underused"


def _overruled(scores: ModalityScores, diagnosis: Diagnosis) -> bool:
    """Return whether the model could use a modality, and yet decides every conflict against it."""
    best = best_available(diagnosis)
    decided = sum(each.followed or 0.0 for each in diagnosis.modalities)
    if not blind(diagnosis) or best is None or scores.followed is None or not decided > 0:
        return False
    comparable = (scores.available or 0.0) >= COMPARABLE * (best.available or 0.0)
    return comparable and scores.followed / decided < OVERRULED / len(diagnosis.modalities)


def dominant_of(diagnosis: Diagnosis, uses: Mapping[str, str]) -> str | None:
    """Return the modality that most of the decision rests on, where one does."""
    shares = dict(zip(diagnosis.names, diagnosis.shapley_shares, strict=True))
    found = next((name for name, x in shares.items() if x >= DOMINANT / len(shares)), None)
    if found is None and "overruled" in uses.values():
        return max(diagnosis.modalities, key=lambda each: each.followed or 0.0).name
    return found


def best_available(diagnosis: Diagnosis) -> ModalityScores | None:
    """Return the modality that could give most by itself, or None where that is known of none."""
    known = [each for each in diagnosis.modalities if each.available is not None]
    return max(known, key=lambda each: each.available or 0.0, default=None)


def badly_used(diagnosis: Diagnosis, uses: Mapping[str, str]) -> list[ModalityScores]:
    """Return the modalities that are not used as they could be, the worst first."""
    found = [each for each in diagnosis.modalities if uses[each.name] in WORST_FIRST]
    return sorted(found, key=lambda each: (WORST_FIRST.index(uses[each.name]), -(each.unused or 0.0)))


def below_best(diagnosis: Diagnosis) -> bool:
    """Return whether one modality by itself could do better than the fused model."""
    best = best_available(diagnosis)
    return best is not None and _exceeds(best.available, diagnosis)


def below_late_fusion(diagnosis: Diagnosis) -> bool:
    """Return whether averaging what the features know could do better than the fused model."""
    return _exceeds(diagnosis.late_fusion_accuracy, diagnosis)


def _exceeds(available: float | None, diagnosis: Diagnosis) -> bool:
    accuracy, size = diagnosis.accuracy, diagnosis.kept
    return available is not None and available > accuracy and beyond_noise(available, accuracy, size)


def blind(diagnosis: Diagnosis) -> bool:
    """Return whether a model does not notice that its modalities disagree."""
    return diagnosis.misaligned_accuracy is not None and diagnosis.misaligned_accuracy < BLIND * diagnosis.accuracy


def accuracy_outlook(diagnosis: Diagnosis) -> str:
    """Return whether MIDAS is likely to raise the accuracy: "likely", "open" or "unlikely"."""
    if below_best(diagnosis) or below_late_fusion(diagnosis):
        return "likely"
    known = diagnosis.late_fusion_accuracy
    return "unlikely" if known is not None and known <= diagnosis.accuracy else "open"
