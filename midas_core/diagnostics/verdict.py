"""The answer in words: thresholds, noise, the use of each modality, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from midas_core.diagnostics.diagnosis import Diagnosis, Measured, ModalityScores
from midas_core.files import plain

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
"""Share of the best available accuracy, above which a modality should not be overruled."""
FEW = 100
"""Samples, below which two standard errors of an accuracy may exceed `UNUSED`."""
RARE = 40
"""Samples of even classes with the noise of a mean recall, below which it tells nothing: ten of the rarer of two."""

WORST_FIRST = ("ignored", "underused", "overruled")
COMPARE = "`midas compare` trains joint training, MIDAS and other methods on your features and measures it."


def two_errors(share: float, samples: float) -> float:
    """Return two standard errors of a share of independent samples."""
    return 2 * math.sqrt(max(share * (1 - share), 0.0) / samples) if samples else math.inf


def beyond_noise(a: float, b: float, samples: float) -> bool:
    """Return whether two shares differ by more than two standard errors."""
    return abs(a - b) > math.hypot(two_errors(a, samples), two_errors(b, samples))


def percent(share: float | None) -> str:
    """Return a share as text."""
    return "unknown" if share is None or math.isnan(share) else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """Return a difference of shares as text, with its sign."""
    return f"{100 * difference:+.1f} points"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Verdict:
    """Whether a model ignores a modality, in words.

    Attributes
    ----------
    status : {"ignored", "underused", "balanced", "at chance", "unclear"}
        The worst use of a modality; "at chance" where the model knows nothing at all.
    headline : str
    uses : dict by modality of {"ignored", "underused", "overruled", "used", "uninformative", "unknown"}
    dominant : str or None
        The modality that most of the decision rests on, where one does.
    findings, advice : tuple of str
        The numbers that say so, and the next steps.
    """

    status: str
    headline: str
    uses: dict[str, str]
    dominant: str | None = None
    findings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def repair(self) -> str:
        """Whether there is something to repair: "likely" where a modality is not used as it could be."""
        return {"ignored": "likely", "underused": "likely", "balanced": "unlikely"}.get(self.status, "unclear")

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {**{key: plain(value) for key, value in vars(self).items()}, "repair": self.repair}

    def __str__(self) -> str:
        """Return everything as plain text."""
        return "\n".join([self.headline, *(f"- {x}" for x in (*self.findings, *self.advice))])


def verdict(diagnosis: Diagnosis, *, trained_with_midas: bool | None = None) -> Verdict:
    """Say whether a model ignores one of its modalities, and what to do about it.

    Parameters
    ----------
    diagnosis : Diagnosis
        With probes, unimodal heads or reference accuracies: they say what each modality could give.
    trained_with_midas : bool, optional
        Whether MIDAS trained the model, which changes the advice. By default what the criterion of the diagnosis says.

    Returns
    -------
    Verdict

    Notes
    -----
    The thresholds are constants of `midas_core.diagnostics.verdict`. A difference counts where it exceeds two standard
    errors, each accuracy taken as a share of independent samples. Where classes are uneven, every accuracy is replaced
    by the recall averaged over classes: 95 % is no achievement where one class makes 95 %.
    """
    after = bool(diagnosis.midas if trained_with_midas is None else trained_with_midas)
    unknown = dict.fromkeys(diagnosis.names, "unknown")
    if diverged(diagnosis):
        text = "The logits of the model are not finite: nothing can be said of its modalities."
        return Verdict("unclear", text, unknown)
    if enough(diagnosis) and at_chance(diagnosis):
        text = (
            f"The fused model is at chance: it is right in {percent(diagnosis.accuracy)}, where the most frequent "
            f"class makes {percent(diagnosis.chance)}. It has to learn before anything can be said of its modalities."
        )
        return Verdict("at chance", text, unknown)
    measured = diagnosis.measured
    uses = {scores.name: use_of(scores, diagnosis, measured) for scores in diagnosis.modalities}
    dominant = _dominant(diagnosis, measured, uses)
    worst = next((x for x in WORST_FIRST if x in uses.values()), None)
    if not enough(diagnosis) or set(uses.values()) <= {"unknown", "uninformative"}:
        status = "unclear"
    else:
        status = "balanced" if worst is None else "ignored" if worst == "ignored" else "underused"
    return Verdict(
        status,
        _headline(diagnosis, measured, uses, dominant, status),
        uses,
        dominant,
        tuple(_findings(diagnosis, measured, uses, dominant)),
        tuple(_advice(diagnosis, uses, status, after)),
    )


def diverged(diagnosis: Diagnosis) -> bool:
    """Return whether no sample has finite logits."""
    return math.isnan(diagnosis.calibration_error) or math.isnan(diagnosis.accuracy)


def enough(diagnosis: Diagnosis) -> bool:
    """Return whether there are samples enough for a verdict, of the rarest class too."""
    return diagnosis.kept >= FEW and (diagnosis.measured.unit == "accuracy" or diagnosis.measured.samples >= RARE)


def at_chance(diagnosis: Diagnosis) -> bool:
    """Return whether a model does no better than one that knows nothing, in accuracy and in mean recall."""
    if _above(diagnosis.accuracy, diagnosis.chance, diagnosis.kept):
        return False
    if len(diagnosis.counted) < 2:
        return True
    recalls = diagnosis.measured_in("recall")
    return not _informative(recalls.fused, recalls)


def _informative(value: float, measured: Measured) -> bool:
    """Return whether an accuracy or mean recall exceeds chance, by more than noise and by enough."""
    if measured.unit == "accuracy":
        return _above(value, measured.chance, measured.samples)
    # The mean recall of a model that knows nothing is 1 / C, without noise.
    return value - measured.chance >= max(INFORMATIVE, two_errors(value, measured.samples))


def _above(accuracy: float, chance: float, samples: float) -> bool:
    return accuracy - chance >= INFORMATIVE and beyond_noise(accuracy, chance, samples)


def use_of(scores: ModalityScores, diagnosis: Diagnosis, measured: Measured) -> str:
    """Return how a modality is used: one of the values of `Verdict.uses`."""
    available, alone = measured.available[scores.name], measured.alone[scores.name]
    if available is None or math.isnan(alone):
        return "unknown"
    if not _informative(available, measured):
        return "uninformative"
    if available - alone < UNUSED or not beyond_noise(available, alone, measured.samples):
        return "overruled" if _overruled(scores, diagnosis, measured) else "used"
    return "ignored" if (alone - measured.chance) / (available - measured.chance) < IGNORED else "underused"


def blind(diagnosis: Diagnosis) -> bool:
    """Return whether a model does not notice that its modalities disagree."""
    return diagnosis.misaligned_accuracy is not None and diagnosis.misaligned_accuracy < BLIND * diagnosis.accuracy


def _overruled(scores: ModalityScores, diagnosis: Diagnosis, measured: Measured) -> bool:
    """Return whether the model could use a modality, and yet decides every conflict against it."""
    decided = sum(x.followed or 0.0 for x in diagnosis.modalities)
    if not blind(diagnosis) or scores.followed is None or not decided > 0:
        return False
    _, best = _best(measured)
    comparable = (measured.available[scores.name] or 0.0) >= COMPARABLE * (best or 0.0)
    return comparable and scores.followed / decided < OVERRULED / len(diagnosis.modalities)


def _dominant(diagnosis: Diagnosis, measured: Measured, uses: Mapping[str, str]) -> str | None:
    """Return the modality that most of the decision rests on, where one does."""
    shares = measured.shapley_shares
    dominant = next((name for name, x in shares.items() if x >= DOMINANT / len(shares)), None)
    if dominant is None and "overruled" in uses.values():
        return max(diagnosis.modalities, key=lambda scores: scores.followed or 0.0).name
    return dominant


def _best(measured: Measured) -> tuple[str, float | None]:
    """Return the modality that could give most by itself, and how much; None where that is known of none."""
    name, available = max(measured.available.items(), key=lambda pair: -1.0 if pair[1] is None else pair[1])
    return name, available


def badly_used(measured: Measured, uses: Mapping[str, str]) -> list[str]:
    """Return the modalities that are not used as they could be, the worst first."""
    names = [name for name, use in uses.items() if use in WORST_FIRST]
    unused = {name: (measured.available[name] or 0.0) - measured.alone[name] for name in names}
    return sorted(names, key=lambda name: (WORST_FIRST.index(uses[name]), -unused[name]))


def _falls_short_of(available: float | None, measured: Measured) -> bool:
    """Return whether the fused model stays below what is available, beyond noise."""
    fused, samples = measured.fused, measured.samples
    return available is not None and available > fused and beyond_noise(available, fused, samples)


def _headline(
    diagnosis: Diagnosis, measured: Measured, uses: Mapping[str, str], dominant: str | None, status: str
) -> str:
    if not enough(diagnosis):
        few = f"{diagnosis.kept} samples" if diagnosis.kept < FEW else f"{_rarest(diagnosis)} samples of a class"
        return f"{few} are too few to tell whether a modality is ignored."
    if status == "unclear":
        if "uninformative" in uses.values():
            return "No modality is known to carry enough by itself to be used, so nothing can be said of its use."
        return "Nothing is known of what each modality could do by itself, so nothing can be said of its use."
    if status == "balanced":
        return _balanced(measured, uses)
    bad = badly_used(measured, uses)
    text = f"The model {listed([_misuse(name, diagnosis, measured, uses[name], dominant) for name in bad])}."
    if dominant is not None and dominant not in bad and uses[bad[0]] != "overruled":
        text += f" Most of the decision rests on {dominant}."
    return text


def _misuse(name: str, diagnosis: Diagnosis, measured: Measured, use: str, dominant: str | None) -> str:
    if use == "overruled":
        followed = next(scores.followed for scores in diagnosis.modalities if scores.name == name)
        return (
            f"lets {dominant} overrule {name} (where they disagree, its first choice is the class of {name} in "
            f"{percent(followed)} of the samples)"
        )
    unit = "mean recall " if measured.unit == "recall" else ""
    numbers = f"{unit}by itself {percent(measured.alone[name])}, within reach {percent(measured.available[name])}"
    return f"largely ignores {name} ({numbers})" if use == "ignored" else f"does not use {name} to the full ({numbers})"


def _balanced(measured: Measured, uses: Mapping[str, str]) -> str:
    useless = [name for name, use in uses.items() if use == "uninformative"]
    more = f" {listed(useless)} carries too little by itself to be used." if useless else ""
    name, best = _best(measured)
    if _falls_short_of(best, measured):
        more += f" Yet it stays below what {name} could do by itself."
    elif _falls_short_of(measured.late_fusion, measured):
        more += " Yet it stays below what its features could do, each judged by itself."
    return f"The model ignores no modality.{more}"


def _findings(diagnosis: Diagnosis, measured: Measured, uses: Mapping[str, str], dominant: str | None) -> list[str]:
    """Return the numbers that the verdict rests on."""
    size, sentences = measured.samples, []
    if measured.unit == "recall":
        sentences.append(
            f"Classes are uneven (the most frequent makes {percent(diagnosis.chance)}): the model is judged by recall "
            f"averaged over classes, not by its accuracy of {percent(diagnosis.accuracy)}."
        )
    shares = measured.shapley_shares
    if not any(math.isnan(x) for x in shares.values()):
        parts = listed([f"{name} {percent(x)}" for name, x in shares.items()])
        who = f"{dominant} dominates" if dominant else "no modality dominates"
        sentences.append(f"Contribution to the {measured.unit} (Shapley values): {parts}; {who}.")
    sentences += [_finding(name, measured, use) for name, use in uses.items()]
    sentences += _of_the_whole(measured)
    if diagnosis.misaligned_accuracy is not None:
        interval = ""
        if diagnosis.misaligned_interval is not None and diagnosis.misaligned_chance is not None:
            low, high = map(percent, diagnosis.misaligned_interval)
            interval = f" ({low} to {high}; chance {percent(diagnosis.misaligned_chance)})"
        followed = [f"{x.name} {percent(x.followed)}" for x in diagnosis.modalities if x.followed is not None]
        sentences.append(
            f"Where the modalities show different classes, the model names all of them in "
            f"{percent(diagnosis.misaligned_accuracy)} of {diagnosis.pairs} samples{interval}, against "
            f"{percent(diagnosis.accuracy)} right on aligned ones; its first choice is the class of "
            f"{', of '.join(followed)}."
        )
    if size < 10 * FEW:
        rare = f", {_rarest(diagnosis)} of them of the rarest class" if measured.unit == "recall" else ""
        sentences.append(
            f"All of this rests on {diagnosis.kept} samples{rare}: two standard errors are up to "
            f"{percent(two_errors(0.5, size))}."
        )
    return sentences


def _rarest(diagnosis: Diagnosis) -> int:
    return min(scores.count for scores in diagnosis.counted)


def _of_the_whole(measured: Measured) -> list[str]:
    """Return how the fused model compares with one modality by itself, and with all of them averaged."""
    name, best = _best(measured)
    if best is None:
        return []
    text = f"The fused model reaches {percent(measured.fused)}"
    late = measured.late_fusion
    averaged = "" if late is None else f"; the averaged probes of its features reach {percent(late)}"
    if _falls_short_of(best, measured):
        return [
            f"{text} and stays below what {name} could do by itself, {percent(best)}: combining the modalities costs "
            f"{measured.unit}{averaged}."
        ]
    return [f"{text}; the best single modality, {name}, could reach {percent(best)}{averaged}."]


def _finding(name: str, measured: Measured, use: str) -> str:
    alone, available = measured.alone[name], measured.available[name]
    if math.isnan(alone):
        return f"{name}: its {measured.unit} by itself is not known."
    noise = 100 * two_errors(alone, measured.samples)
    told = "its mean recall is" if measured.unit == "recall" else "the model is right in"
    text = f"{name}: with the others absent {told} {percent(alone)} (± {noise:.0f})"
    known = {key: x for key, x in measured.sources[name].items() if x is not None}
    if not known or available is None:
        return f"{text}; what it could do is not known."
    titles = {
        "probe": "a linear probe on its features reaches",
        "unimodal": "its unimodal head reaches",
        "reference": "a model trained on it alone reaches",
    }
    sources = ", ".join(f"{titles[key]} {percent(x)}" for key, x in known.items())
    lost = max(available - alone, 0.0)
    whole = round(100 * lost)
    count = f"{whole} point" if whole == 1 else f"{whole} points"
    end = {
        "used": f"{count} lost, too few to count" if lost >= 0.005 else "nothing is lost",
        "uninformative": "by itself it carries too little to be used",
        "overruled": "it could be used and is overruled where the modalities disagree",
    }.get(use, f"{count} lost on the way to the decision")
    return f"{text}; {sources}: {end}."


def _advice(diagnosis: Diagnosis, uses: Mapping[str, str], status: str, after: bool) -> list[str]:
    if not enough(diagnosis):
        return [f"Measure on {FEW} samples or more, and on more than ten of every class."]
    if status == "unclear":
        if "uninformative" in uses.values():
            return ["Train the encoders better, or measure on more samples."]
        return ["Measure with a probe, or pass the accuracies of models trained on one modality each (with_reference)."]
    if after:
        if status == "balanced":
            return ["MIDAS has done what it can: leave weight and warm-up as they are."]
        return [
            "Part of what the modalities know is still lost. Try twice the weight, a lower learning rate or more "
            "epochs, and choose on validation data."
        ]
    if status == "balanced":
        return [f"There is little for MIDAS to repair. Whether another method is more accurate: {COMPARE}"]
    names = listed([name for name, use in uses.items() if use in WORST_FIRST])
    return [
        f"MIDAS trains the model to use {names}. This verdict does not predict accuracy: {COMPARE}",
        f"Start with MidasLoss(weight={2 if status == 'ignored' else 1}) and choose among 1, 2 and 5 on validation "
        "data.",
        "Set warmup_epochs to what the unimodal heads need to leave chance behind: about a seventh of the epochs where "
        "encoders start from scratch, 0 to 2 where they are pre-trained or the data is easy.",
    ]
