"""The answer in words: is a modality ignored, and would MIDAS help."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from midas_core.diagnostics.judgement import (
    FEW,
    WORST_FIRST,
    accuracy_outlook,
    at_chance,
    diverged,
    dominant_of,
    use_of,
)
from midas_core.diagnostics.results import Diagnosis
from midas_core.diagnostics.wording import advice_for, findings_of, headline_of, percent


@dataclass(frozen=True)
class Verdict:
    """Whether a model ignores a modality, in words.

    Attributes
    ----------
    status : {"ignored", "underused", "balanced", "at chance", "unclear"}
        The worst of the modalities; "at chance" where the model knows nothing at all.
    headline : str
        The answer, what MIDAS is likely to do about it, and its price.
    uses : dict by modality of {"ignored", "underused", "overruled", "used", "uninformative", "unknown"}
    dominant : str or None
        The modality that most of the decision rests on, where one does.
    repair : {"likely", "unlikely", "unclear"}
        Whether training with MIDAS (or, where it has been used, more of it) is likely to make the model use what it
        does not use.
    accuracy : {"likely", "open", "unlikely", "unclear"}
        Whether the accuracy on aligned samples is likely to rise with it.
    findings : tuple of str
        The numbers that say so.
    advice : tuple of str
        What to do.
    """

    status: str
    headline: str
    uses: dict[str, str]
    dominant: str | None
    repair: str
    accuracy: str
    findings: tuple[str, ...]
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return text, lists and dicts only."""
        return {**asdict(self), "findings": list(self.findings), "advice": list(self.advice)}

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
        Whether MIDAS has been used already, which changes the advice. None takes what the diagnosis knows from the
        criterion it was given.

    Returns
    -------
    Verdict

    Notes
    -----
    The thresholds are constants of `midas_core.diagnostics.judgement`. A difference counts where it exceeds two
    standard errors, each accuracy taken as a share of independent samples.
    """
    after = bool(diagnosis.midas if trained_with_midas is None else trained_with_midas)
    nothing = dict.fromkeys(diagnosis.names, "unknown")
    if diverged(diagnosis):
        text = "The logits of the model are not finite: nothing can be said of its modalities."
        return Verdict("unclear", text, nothing, None, "unclear", "unclear", (), ())
    if diagnosis.kept >= FEW and at_chance(diagnosis):
        text = (
            f"The fused model is at chance: it is right in {percent(diagnosis.accuracy)}, where the most frequent "
            f"class makes {percent(diagnosis.chance)}. Before anything can be said of its modalities it has to learn."
        )
        return Verdict("at chance", text, nothing, None, "unclear", "unclear", (), ())
    uses = {each.name: use_of(each, diagnosis) for each in diagnosis.modalities}
    dominant = dominant_of(diagnosis, uses)
    if diagnosis.kept < FEW or set(uses.values()) <= {"unknown", "uninformative"}:
        status, repair, accuracy = "unclear", "unclear", "unclear"
    else:
        worst = next((x for x in WORST_FIRST if x in uses.values()), None)
        status = "balanced" if worst is None else "ignored" if worst == "ignored" else "underused"
        repair = "unlikely" if worst is None else "likely"
        accuracy = accuracy_outlook(diagnosis)
    return Verdict(
        status,
        headline_of(diagnosis, uses, dominant, status, accuracy, after),
        uses,
        dominant,
        repair,
        accuracy,
        tuple(findings_of(diagnosis, uses, dominant)),
        tuple(advice_for(diagnosis, uses, status, accuracy, after)),
    )
