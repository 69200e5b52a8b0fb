"""The sentences of the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from midas_core.diagnostics.judgement import (
    FEW,
    WORST_FIRST,
    badly_used,
    below_best,
    below_late_fusion,
    best_available,
    two_errors,
)
from midas_core.diagnostics.results import Diagnosis, ModalityScores

# Held to tests/diagnostics/verdicts.json by a test.
PRICE = "the probabilities are likely to be less calibrated"


def percent(share: float | None) -> str:
    """Return a share as text."""
    return "unknown" if share is None or math.isnan(share) else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """Return a difference of shares as text, with its sign."""
    return f"{100 * difference:+.1f} points"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def headline_of(
    diagnosis: Diagnosis, uses: Mapping[str, str], dominant: str | None, status: str, accuracy: str, after: bool
) -> str:
    """Return the answer, what MIDAS is likely to do about it, and its price."""
    if diagnosis.kept < FEW:
        return f"{diagnosis.kept} samples are too few to tell whether a modality is ignored."
    if status == "unclear":
        return "Nothing is known of what each modality could do by itself, so nothing can be said of its use."
    if status == "balanced":
        return _balanced(diagnosis, uses)
    bad = badly_used(diagnosis, uses)
    text = f"The model {listed([_misuse(each, uses[each.name], dominant) for each in bad])}."
    if dominant is not None and dominant not in [each.name for each in bad] and uses[bad[0].name] != "overruled":
        text += f" Most of the decision rests on {dominant}."
    if after:
        return text
    outlook = {
        "likely": "and is likely to raise the accuracy",
        "open": "whether the accuracy rises is open",
        "unlikely": "but is not likely to raise the accuracy",
    }[accuracy]
    joined = f", {outlook}" if accuracy != "open" else f"; {outlook}"
    return f"{text} MIDAS is likely to repair that{joined}; {PRICE}."


def _misuse(scores: ModalityScores, use: str, dominant: str | None) -> str:
    name = scores.name
    if use == "overruled":
        return (
            f"lets {dominant} overrule {name} (where they disagree, its first choice is the class of {name} in "
            f"{percent(scores.followed)} of the samples)"
        )
    numbers = f"by itself {percent(scores.accuracy_alone)}, within reach {percent(scores.available)}"
    return f"largely ignores {name} ({numbers})" if use == "ignored" else f"does not use {name} to the full ({numbers})"


def _balanced(diagnosis: Diagnosis, uses: Mapping[str, str]) -> str:
    useless = [name for name, use in uses.items() if use == "uninformative"]
    more = f" By itself, too little to be used comes from {listed(useless)}." if useless else ""
    best = best_available(diagnosis)
    if best is not None and below_best(diagnosis):
        more += f" Yet it stays below what {best.name} could do by itself."
    elif below_late_fusion(diagnosis):
        more += " Yet it stays below what its features could do, each judged by itself."
    return f"The model ignores no modality.{more}"


def findings_of(diagnosis: Diagnosis, uses: Mapping[str, str], dominant: str | None) -> list[str]:
    """Return the numbers that the verdict rests on."""
    size = diagnosis.kept
    found = []
    shares = diagnosis.shapley_shares
    if not any(math.isnan(x) for x in shares):
        each = listed([f"{name} {percent(x)}" for name, x in zip(diagnosis.names, shares, strict=True)])
        who = f"{dominant} dominates" if dominant else "no modality dominates"
        found.append(f"Of what the modalities contribute to the accuracy (Shapley values), {each}: {who}.")
    found += [_finding(scores, uses[scores.name], size) for scores in diagnosis.modalities]
    found += _of_the_whole(diagnosis)
    if diagnosis.misaligned_accuracy is not None:
        text = (
            f"Where the modalities speak for different classes, it names all of them in "
            f"{percent(diagnosis.misaligned_accuracy)} of {diagnosis.pairs} samples{_how_sure(diagnosis)}, against "
            f"{percent(diagnosis.accuracy)} right on aligned ones"
        )
        followed = [f"{x.name} {percent(x.followed)}" for x in diagnosis.modalities if x.followed is not None]
        found.append(f"{text}; its first choice is the class of {', of '.join(followed)}.")
    if size < 10 * FEW:
        found.append(
            f"All of this rests on {size} samples: two standard errors are up to {percent(two_errors(0.5, size))}."
        )
    return found


def _how_sure(diagnosis: Diagnosis) -> str:
    """Return the interval and the chance level of the misaligned accuracy, where they are known."""
    if diagnosis.misaligned_interval is None or diagnosis.misaligned_chance is None:
        return ""
    low, high = map(percent, diagnosis.misaligned_interval)
    return f" ({low} to {high}; chance {percent(diagnosis.misaligned_chance)})"


def _of_the_whole(diagnosis: Diagnosis) -> list[str]:
    """Return how the fused model compares with one modality by itself, and with all of them averaged."""
    best, late = best_available(diagnosis), diagnosis.late_fusion_accuracy
    if best is None or best.available is None:
        return []
    text = f"The fused model reaches {percent(diagnosis.accuracy)}"
    averaged = "" if late is None else f"; its features, each judged by a probe and averaged, {percent(late)}"
    if below_best(diagnosis):
        return [
            f"{text} and stays below what {best.name} could do by itself, {percent(best.available)}: combining the "
            f"modalities costs accuracy{averaged}."
        ]
    return [f"{text}; the best single modality, {best.name}, could reach {percent(best.available)}{averaged}."]


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
        "used": f"{_whole(lost)} lost, too few to count" if lost >= 0.005 else "nothing is lost",
        "uninformative": "by itself it carries too little to be used",
        "overruled": "it could be used and is overruled where the modalities disagree",
    }.get(use, f"{_whole(lost)} lost on the way to the decision")
    return f"{text}; {', '.join(known)}: {end}."


def _whole(difference: float) -> str:
    whole = round(100 * difference)
    return f"{whole} point" if whole == 1 else f"{whole} points"


def advice_for(diagnosis: Diagnosis, uses: Mapping[str, str], status: str, accuracy: str, after: bool) -> list[str]:
    """Return what to do."""
    if diagnosis.kept < FEW:
        return [f"Measure on {FEW} samples or more."]
    if status == "unclear":
        return ["Measure with a probe, or give the accuracies of models trained on one modality each (with_reference)."]
    if after:
        return [_advice_after(status)]
    if status == "balanced":
        if accuracy != "likely":
            return [
                "There is little for MIDAS to repair; expect no more than a better sense of disagreeing modalities."
            ]
        reason = "The accuracy is likely to rise with MIDAS: what the modalities know by themselves is more."
        return [reason, *_settings(1)]
    names = listed([name for name, use in uses.items() if use in WORST_FIRST])
    reason = {
        "likely": f"MIDAS is likely to make the model use {names}, and the accuracy to rise: what the modalities know "
        "by themselves is more than the model makes of them.",
        "open": f"MIDAS is likely to make the model use {names}; whether the accuracy rises with it is open.",
        "unlikely": f"MIDAS is likely to make the model use {names}. Do it where that is what you need: a modality "
        "that may be missing, fail or disagree. For accuracy alone there is no reason to: the model already makes more "
        "of the modalities together than they know by themselves.",
    }[accuracy]
    return [reason, *_settings(2 if status == "ignored" else 1)]


def _advice_after(status: str) -> str:
    if status == "balanced":
        return "MIDAS has done what it can: leave weight and warm-up as they are."
    return (
        "Part of what the modalities know is still lost. Try twice the weight, a lower learning rate or more epochs, "
        "and choose on validation data."
    )


def _settings(weight: int) -> list[str]:
    return [
        f"Start with MidasLoss(weight={weight}) and compare 1, 2 and 5 on validation data.",
        "Set warmup_epochs to what the unimodal heads need to leave chance behind: about a seventh of the epochs where "
        "encoders start from scratch, 0 to 2 where they are pre-trained or the data is easy.",
    ]
