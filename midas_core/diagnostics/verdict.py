"""The answer in words: is a modality ignored, and would MIDAS help."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from midas_core.diagnostics.results import Diagnosis, ModalityScores

UNUSED = 0.10
"""Accuracy that a modality could give and does not, from which it counts as underused."""
IGNORED = 0.5
"""Share of what a modality could give above chance, below which it counts as ignored."""
DOMINANT = 1.5
"""Times the fair share 1 / M of the Shapley values, from which a modality dominates."""
INFORMATIVE = 0.05
"""Accuracy above chance, below which a modality carries nothing by itself."""
BLIND = 0.5
"""Misaligned over aligned accuracy, below which a model does not notice that its modalities disagree."""
OVERRULED = 0.2
"""Times the fair share 1 / M of the conflicts that are decided for a modality, below which it is overruled."""
COMPARABLE = 0.75
"""Of the best available accuracy, above which a modality should not be overruled."""
FEW = 100
"""Samples, below which two standard errors of an accuracy may exceed `UNUSED`."""

WORST_FIRST = ("ignored", "underused", "overruled")


@dataclass(frozen=True)
class Verdict:
    """Whether a model ignores a modality, in words.

    Attributes
    ----------
    status : {"ignored", "underused", "balanced", "unclear"}
        The worst of the modalities.
    headline : str
        One sentence.
    uses : dict by modality of {"ignored", "underused", "overruled", "used", "uninformative", "unknown"}
    dominant : str or None
        The modality that most of the decision rests on, where one does.
    midas : {"likely", "perhaps", "unlikely", "unclear"}
        Whether training with MIDAS (or, where it has been used, more of it) is likely to make the model use what it
        does not use.
    accuracy : {"likely", "open", "unlikely", "unclear"}
        Whether the accuracy on aligned samples is likely to rise with it.
    findings : tuple of str
        The numbers that say so.
    advice : tuple of str
        What to set.
    """

    status: str
    headline: str
    uses: dict[str, str]
    dominant: str | None
    midas: str
    accuracy: str
    findings: tuple[str, ...]
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {**asdict(self), "findings": list(self.findings), "advice": list(self.advice)}

    def __str__(self) -> str:
        """Return everything as plain text."""
        return "\n".join([self.headline, *(f"- {x}" for x in (*self.findings, *self.advice))])


def verdict(diagnosis: Diagnosis, *, trained_with_midas: bool = False) -> Verdict:
    """Say whether a model ignores one of its modalities, and what to do about it.

    Parameters
    ----------
    diagnosis : Diagnosis
        With probes, unimodal heads or reference accuracies: they say what each modality could give.
    trained_with_midas : bool
        Whether MIDAS has been used already, which changes the advice.

    Returns
    -------
    Verdict

    Notes
    -----
    The thresholds are constants of this module. A difference counts where it exceeds two standard errors, each accuracy
    taken as a share of independent samples.
    """
    uses = {each.name: _use(each, diagnosis) for each in diagnosis.modalities}
    dominant = _dominant(diagnosis, uses)
    few = diagnosis.kept < FEW
    if few or set(uses.values()) <= {"unknown", "uninformative"}:
        status = "unclear"
    else:
        worst = next((x for x in WORST_FIRST if x in uses.values()), None)
        status = "balanced" if worst is None else "ignored" if worst == "ignored" else "underused"
    midas = _likely(diagnosis, status, trained_with_midas)
    accuracy = "open" if midas in ("likely", "perhaps") else midas
    if accuracy == "open" and _below_best(diagnosis):
        accuracy = "likely"
    return Verdict(
        status,
        _headline(diagnosis, uses, dominant, status),
        uses,
        dominant,
        midas,
        accuracy,
        tuple(_findings(diagnosis, uses, dominant)),
        tuple(_advice(diagnosis, uses, status, midas, trained_with_midas)),
    )


def two_errors(share: float, samples: int) -> float:
    """Return two standard errors of a share of independent samples."""
    return 2 * math.sqrt(max(share * (1 - share), 0.0) / samples) if samples else math.inf


def beyond_noise(a: float, b: float, samples: int) -> bool:
    """Return whether two shares differ by more than two standard errors."""
    return abs(a - b) > math.hypot(two_errors(a, samples), two_errors(b, samples))


def percent(share: float | None) -> str:
    """Return a share as text."""
    return "unknown" if share is None or math.isnan(share) else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """Return a difference of shares as text, with its sign."""
    return f"{100 * difference:+.1f} points"


def _points(difference: float) -> str:
    whole = round(100 * difference)
    return f"{whole} point" if whole == 1 else f"{whole} points"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _use(scores: ModalityScores, diagnosis: Diagnosis) -> str:
    available, alone, size = scores.available, scores.accuracy_alone, diagnosis.kept
    if available is None or math.isnan(alone):
        return "unknown"
    worth = available - diagnosis.chance
    if worth < INFORMATIVE or not beyond_noise(available, diagnosis.chance, size):
        return "uninformative"
    if available - alone < UNUSED or not beyond_noise(available, alone, size):
        return "overruled" if _overruled(scores, diagnosis) else "used"
    return "ignored" if (alone - diagnosis.chance) / worth < IGNORED else "underused"


def _overruled(scores: ModalityScores, diagnosis: Diagnosis) -> bool:
    """Whether the model could use a modality, and yet decides every conflict against it."""
    best = best_available(diagnosis)
    decided = sum(each.followed or 0.0 for each in diagnosis.modalities)
    if not blind(diagnosis) or best is None or scores.followed is None or not decided > 0:
        return False
    comparable = (scores.available or 0.0) >= COMPARABLE * (best.available or 0.0)
    return comparable and scores.followed / decided < OVERRULED / len(diagnosis.modalities)


def _dominant(diagnosis: Diagnosis, uses: Mapping[str, str]) -> str | None:
    shares = dict(zip(diagnosis.names, diagnosis.shapley_shares, strict=True))
    found = next((name for name, x in shares.items() if x >= DOMINANT / len(shares)), None)
    if found is None and "overruled" in uses.values():
        return max(diagnosis.modalities, key=lambda each: each.followed or 0.0).name
    return found


def best_available(diagnosis: Diagnosis) -> ModalityScores | None:
    """Return the modality that could give most by itself, or None where that is known of none."""
    known = [each for each in diagnosis.modalities if each.available is not None]
    return max(known, key=lambda each: each.available or 0.0, default=None)


def weakest(diagnosis: Diagnosis, uses: Mapping[str, str]) -> int:
    """Return the modality that is used worst, of those at the worst level the one that loses most."""
    level = next(x for x in WORST_FIRST if x in uses.values())
    candidates = [m for m, x in enumerate(diagnosis.modalities) if uses[x.name] == level]
    return max(candidates, key=lambda m: diagnosis.modalities[m].unused or 0.0)


def _below_best(diagnosis: Diagnosis) -> bool:
    best = best_available(diagnosis)
    if best is None or best.available is None:
        return False
    return best.available > diagnosis.accuracy and beyond_noise(best.available, diagnosis.accuracy, diagnosis.kept)


def blind(diagnosis: Diagnosis) -> bool:
    """Return whether a model does not notice that its modalities disagree."""
    return diagnosis.misaligned_accuracy is not None and diagnosis.misaligned_accuracy < BLIND * diagnosis.accuracy


def _likely(diagnosis: Diagnosis, status: str, trained_with_midas: bool) -> str:
    if status in ("ignored", "underused"):
        return "likely"
    if status == "unclear":
        return "unclear"
    blind_before = blind(diagnosis) and not trained_with_midas
    return "perhaps" if blind_before or _below_best(diagnosis) else "unlikely"


def _headline(diagnosis: Diagnosis, uses: Mapping[str, str], dominant: str | None, status: str) -> str:
    if diagnosis.kept < FEW:
        return f"{diagnosis.kept} samples are too few to tell whether a modality is ignored."
    if status == "unclear":
        return "Nothing is known of what each modality could do by itself, so nothing can be said of its use."
    if status == "balanced":
        useless = [name for name, use in uses.items() if use == "uninformative"]
        more = f" By itself, too little to be used comes from {listed(useless)}." if useless else ""
        best = best_available(diagnosis)
        if best is not None and _below_best(diagnosis):
            more += f" Yet it stays below what {best.name} could do by itself."
        return f"The model ignores no modality.{more}"
    worst = diagnosis.modalities[weakest(diagnosis, uses)]
    name = worst.name
    if uses[name] == "overruled":
        return (
            f"The model lets {dominant} overrule {name}: where they disagree, its first choice is the class of {name} "
            f"in {percent(worst.followed)} of the samples."
        )
    what = f"largely ignores {name}" if status == "ignored" else f"does not use {name} to the full"
    text = (
        f"The model {what}: by itself {name} takes it to {percent(worst.accuracy_alone)}, "
        f"where {percent(worst.available)} are within reach."
    )
    return text if dominant in (None, name) else f"{text} Most of the decision rests on {dominant}."


def _findings(diagnosis: Diagnosis, uses: Mapping[str, str], dominant: str | None) -> list[str]:
    size = diagnosis.kept
    found = []
    shares = diagnosis.shapley_shares
    if not any(math.isnan(x) for x in shares):
        each = listed([f"{name} {percent(x)}" for name, x in zip(diagnosis.names, shares, strict=True)])
        who = f"{dominant} dominates" if dominant else "no modality dominates"
        found.append(f"Of what the modalities contribute to the accuracy (Shapley values), {each}: {who}.")
    found += [_finding(scores, uses[scores.name], size) for scores in diagnosis.modalities]
    best = best_available(diagnosis)
    if best is not None and best.available is not None:
        if _below_best(diagnosis):
            found.append(
                f"The fused model reaches {percent(diagnosis.accuracy)} and stays below what {best.name} could do by "
                f"itself, {percent(best.available)}: combining the modalities costs accuracy."
            )
        else:
            found.append(
                f"The fused model reaches {percent(diagnosis.accuracy)}; the best single modality, {best.name}, "
                f"could reach {percent(best.available)}."
            )
    if diagnosis.misaligned_accuracy is not None:
        text = (
            f"Where the modalities speak for different classes, it names all of them in "
            f"{percent(diagnosis.misaligned_accuracy)} of {diagnosis.pairs} samples, against "
            f"{percent(diagnosis.accuracy)} right on aligned ones"
        )
        followed = [f"{x.name} {percent(x.followed)}" for x in diagnosis.modalities if x.followed is not None]
        found.append(f"{text}; its first choice is the class of {', of '.join(followed)}.")
    if size < 10 * FEW:
        found.append(
            f"All of this rests on {size} samples: two standard errors are up to {percent(two_errors(0.5, size))}."
        )
    return found


def _finding(scores: ModalityScores, use: str, size: int) -> str:
    if math.isnan(scores.accuracy_alone):
        return f"{scores.name}: its accuracy by itself is not known."
    text = (
        f"{scores.name}: with the others absent the model is right in {percent(scores.accuracy_alone)} "
        f"(± {100 * two_errors(scores.accuracy_alone, size):.0f})"
    )
    sources = {
        "a linear probe on its features": scores.probe_accuracy,
        "its unimodal head": scores.unimodal_accuracy,
        "a model trained on it alone": scores.reference_accuracy,
    }
    known = [f"{name} in {percent(x)}" for name, x in sources.items() if x is not None]
    if not known:
        return f"{text}; what it could do is not known."
    lost = max(scores.unused or 0.0, 0.0)
    end = {
        "used": f"{_points(lost)} lost, too few to count" if lost >= 0.005 else "nothing is lost",
        "uninformative": "by itself it carries too little to be used",
        "overruled": "it could be used and is overruled where the modalities disagree",
    }.get(use, f"{_points(lost)} lost on the way to the decision")
    return f"{text}; {', '.join(known)}: {end}."


def _advice(
    diagnosis: Diagnosis, uses: Mapping[str, str], status: str, midas: str, trained_with_midas: bool
) -> list[str]:
    if diagnosis.kept < FEW:
        return [f"Measure on {FEW} samples or more."]
    if status == "unclear":
        return ["Measure with a probe, or give the accuracies of models trained on one modality each (with_reference)."]
    if trained_with_midas:
        if status == "balanced" and midas == "unlikely":
            return ["MIDAS has done what it can: leave weight and warm-up as they are."]
        return [
            "Part of what the modalities know is still lost. Try twice the weight, a lower learning rate or more "
            "epochs, and choose on validation data."
        ]
    if midas == "unlikely":
        return ["There is little for MIDAS to repair; expect no more than a better sense of disagreeing modalities."]
    start = 2 if status == "ignored" else 1
    names = listed([name for name, use in uses.items() if use in WORST_FIRST] or ["each modality"])
    likely = f"MIDAS is likely to make the model use {names}"
    if status == "balanced":
        likely = "MIDAS may help"
    if _below_best(diagnosis):
        likely += ", and the accuracy to rise: one modality by itself could do better than the model"
    elif status == "balanced":
        likely = "MIDAS would teach the model to notice disagreeing modalities; its accuracy may change little"
    else:
        likely += "; whether the accuracy rises with it is open"
    return [
        f"{likely}. Start with MidasLoss(weight={start}) and compare 1, 2 and 5 on validation data.",
        "Set warmup_epochs to what the unimodal heads need to leave chance behind: about a seventh of the epochs where "
        "encoders start from scratch, 0 to 2 where they are pre-trained or the data is easy.",
    ]
