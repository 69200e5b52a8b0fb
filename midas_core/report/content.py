"""What the page shows of a run: the verdict, tables, figures and their descriptions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from midas_core.diagnostics import Comparison, Diagnosis, Verdict, compare, verdict
from midas_core.diagnostics.judgement import WORST_FIRST
from midas_core.diagnostics.plots import (
    plot_accuracy,
    plot_alpha,
    plot_confidence,
    plot_confidence_history,
    plot_reliability,
    plot_similarity,
    plot_training,
    plot_use,
)
from midas_core.diagnostics.wording import listed, percent
from midas_core.report.svg import inline_svg
from midas_core.runs import Run

SPLITS = ("test", "validation")
"""What is shown where a run has diagnostics of several splits: the first of these, or else any."""

KINDS = {
    "ignored": "bad",
    "underused": "warn",
    "balanced": "good",
    "at chance": "bad",
    "unclear": "none",
    "repaired": "good",
    "partly": "warn",
    "no": "bad",
    "nothing to repair": "none",
}
REPAIR = {"repaired": "repaired", "partly": "partly repaired", "no": "not repaired"}
MARKS = {"good": "✓", "warn": "!", "bad": "✗", "none": "?"}


@dataclass
class Picture:
    """One figure of one run.

    Attributes
    ----------
    run : str
        Its name; empty where it shows all of them.
    svg : str
    """

    run: str
    svg: str


@dataclass
class Section:
    """Figures of one kind, a picture for each run.

    Attributes
    ----------
    title, text : str
    pictures : list of Picture
    """

    title: str
    text: str
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class RunContent:
    """What is shown of one run.

    Attributes
    ----------
    name : str
        Unique in the page.
    run : Run
    split : str
        Of the diagnosis.
    diagnosis, verdict, comparison
        None where there is nothing to make them of.
    problems : list of str
    lines : list of str
        What changed since the first run, and what to do that was not said of an earlier one.
    """

    name: str
    run: Run
    split: str = ""
    diagnosis: Diagnosis | None = None
    verdict: Verdict | None = None
    comparison: Comparison | None = None
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.comparison is not None:
            return self.comparison.headline
        if self.verdict is not None:
            return self.verdict.headline
        return f"No diagnostics{'' if self.run.finished else ': the run was not finished when this page was made'}."

    @property
    def badge(self) -> tuple[str, str, str]:
        """Text, kind and mark of its status."""
        if self.verdict is None or self.verdict.status == "unclear":
            return "unclear", "none", MARKS["none"]
        kind = KINDS[self.verdict.status]
        if self.verdict.status == "at chance":
            return "at chance", kind, MARKS[kind]
        level = next((x for x in WORST_FIRST if x in self.verdict.uses.values()), "")
        names = [name for name, use in self.verdict.uses.items() if use == level]
        return f"{level}: {', '.join(names)}" if names else "no modality ignored", kind, MARKS[kind]

    @property
    def repair_badge(self) -> tuple[str, str, str]:
        """Text, kind and mark of the comparison to the first run."""
        assert self.comparison is not None
        status, kind = self.comparison.status, KINDS[self.comparison.status]
        text = f"{REPAIR[status]}: {', '.join(self.comparison.repairs)}" if status in REPAIR else status
        return text, kind, MARKS[kind]


def trained_with_midas(run: Run) -> bool:
    """Return whether a run says that MIDAS trained it: by its method, or by its logging alpha."""
    method = run.config.get("method")
    if method is not None:
        return "midas" in str(method).lower()
    return any(key.startswith("alpha_") for row in run.metrics for key in row)


def gather(runs: Sequence[Run]) -> list[RunContent]:
    """Return what is shown of each run; the others are compared to the first."""
    names = _unique([run.name for run in runs])
    found = [RunContent(name, run, problems=list(run.problems)) for name, run in zip(names, runs, strict=True)]
    for content in found:
        _diagnose(content)
    first = found[0]
    for content in found[1:]:
        if first.diagnosis is None or content.diagnosis is None:
            continue
        if first.diagnosis.names != content.diagnosis.names:
            content.problems.append(f"it has other modalities than {first.name}: not compared")
            continue
        if first.split != content.split:
            content.problems.append(
                f"its diagnostics are of {content.split} data, those of {first.name} of {first.split}"
            )
        content.comparison = compare(first.diagnosis, content.diagnosis, names=(first.name, content.name))
    said: set[str] = set()
    for content in found:
        content.lines += content.comparison.findings if content.comparison else ()
        advice = [] if content.verdict is None else [x for x in content.verdict.advice if x not in said]
        content.lines += advice
        said.update(advice)
    return found


def sections(contents: Sequence[RunContent]) -> list[Section]:
    """Return the figures, in the order of the page; without those that there is nothing to draw of."""
    diagnosed = [(i, c, c.diagnosis) for i, c in enumerate(contents) if c.diagnosis is not None]
    found = []
    use = Section(
        "What reaches the decision",
        "Dot: accuracy of the fused model with this modality alone, the others absent. Ring: what is within its reach, "
        "the best of a linear probe on its features, its unimodal head and a model trained on it alone. A long line "
        "between them means that the model does not use what it has.",
    )
    use.pictures = [_picture(f"use{i}", c.name, plot_use(d), _use_text(d)) for i, c, d in diagnosed]
    found.append(use)
    if diagnosed:
        both = Section(
            "Aligned and misaligned samples",
            "Aligned: the right class comes first. Misaligned: each modality comes from a sample of another class, and "
            "all the true classes are among the top predictions, as many as there are modalities.",
        )
        figure = plot_accuracy({c.name: d for _, c, d in diagnosed})
        both.pictures = [_picture("accuracy", "", figure, _accuracy_text(diagnosed))]
        found.append(both)
        sure = Section(
            "Whom the model follows",
            "On misaligned samples: the mean probability that the fused model gives to the class of each modality.",
        )
        sure.pictures = [
            _picture(f"sure{i}", c.name, plot_confidence(d), _confidence_text(d)) for i, c, d in diagnosed if d.pairs
        ]
        found.append(sure)
    curves: list[tuple[str, str, Callable[[Run], Figure | None], str, str]] = [
        (
            "Accuracy over training",
            "On validation data, where it was logged.",
            plot_training,
            "training",
            "Aligned and misaligned accuracy over the epochs",
        ),
        (
            "Confidence over training",
            "The share of each modality in the confidence on misaligned samples: solid that of the fused classifier, "
            "dashed that of the unimodal ones. Where solid lies below dashed, the fused model trusts it less than "
            "it deserves.",
            plot_confidence_history,
            "shares",
            "Normalised confidence of each modality over the epochs",
        ),
        (
            "Alpha over training",
            "The weight that MIDAS gives to the weak modality; 1 for the others.",
            plot_alpha,
            "alpha",
            "Alpha of each modality over the epochs",
        ),
    ]
    for title, text, plot, key, alt in curves:
        section = Section(title, text)
        for i, c in enumerate(contents):
            figure_or_none = plot(c.run)
            if figure_or_none is not None:
                section.pictures.append(_picture(f"{key}{i}", c.name, figure_or_none, f"{alt}. {_last(c.run, key)}"))
        found.append(section)
    if diagnosed:
        alike = Section(
            "Similarity of exchanged features",
            "Cosine similarity of the features that take each other's place in misaligned samples. MIDAS gives more "
            "weight to the similar ones.",
        )
        alike.pictures = [
            _picture(f"alike{i}", c.name, plot_similarity(d), _similarity_text(d))
            for i, c, d in diagnosed
            if any(x.similarity for x in d.modalities)
        ]
        calibration = Section("Calibration", "How often the model is right against how sure it is.")
        calibration.pictures = [
            _picture(f"calibration{i}", c.name, plot_reliability(d), _calibration_text(d)) for i, c, d in diagnosed
        ]
        found += [alike, calibration]
    return [section for section in found if section.pictures]


def number(value: Any, digits: int = 1) -> str:
    """Return a share as percent for a table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{100 * value:.{digits}f}"


def _diagnose(content: RunContent) -> None:
    known = content.run.diagnostics
    order = [*(x for x in SPLITS if x in known), *(x for x in known if x not in SPLITS)]
    for split in order:
        try:
            content.diagnosis = Diagnosis.from_dict(known[split])
        except ValueError as error:
            content.problems.append(f"diagnostics of {split} could not be read: {error}")
            continue
        content.split = split
        content.verdict = verdict(content.diagnosis, trained_with_midas=trained_with_midas(content.run))
        return


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        count, candidate = 1, name
        while candidate in found:
            count += 1
            candidate = f"{name} ({count})"
        found.append(candidate)
    return found


def _picture(key: str, run: str, figure: Figure, description: str) -> Picture:
    return Picture(run, inline_svg(figure, key, description))


def _use_text(d: Diagnosis) -> str:
    parts = [f"{x.name} alone {percent(x.accuracy_alone)}, within reach {percent(x.available)}" for x in d.modalities]
    return f"Accuracy: {'; '.join(parts)}; fused model {percent(d.accuracy)}, chance {percent(d.chance)}."


def _accuracy_text(diagnosed: Sequence[tuple[int, RunContent, Diagnosis]]) -> str:
    parts = [
        f"{c.name}: aligned {percent(d.accuracy)}, misaligned {percent(d.misaligned_accuracy)}" for _, c, d in diagnosed
    ]
    return f"Accuracy of {'; '.join(parts)}."


def _confidence_text(d: Diagnosis) -> str:
    parts = [f"{x.name} {percent(x.pair_confidence)}" for x in d.modalities]
    return f"Mean probability of the class of {listed(parts)} on misaligned samples."


def _similarity_text(d: Diagnosis) -> str:
    parts = [f"{x.name} {x.similarity_mean:.2f}" for x in d.modalities if x.similarity_mean is not None]
    return f"Histogram of cosine similarities; mean of {listed(parts)}."


def _calibration_text(d: Diagnosis) -> str:
    return f"Reliability diagram; expected calibration error {100 * d.calibration_error:.1f} %."


def _last(run: Run, kind: str) -> str:
    keys = {
        "training": ["accuracy", "misaligned_accuracy"],
        "shares": [f"{k}_{m}" for m in run.modalities for k in ("fused_confidence", "confidence")],
        "alpha": [f"alpha_{m}" for m in run.modalities],
    }[kind]
    parts = []
    for key in keys:
        values = (run.series(f"val_{key}") if run.series(f"val_{key}")[0] else run.series(key))[1]
        if values:
            parts.append(f"{key.replace('_', ' ')} {values[-1]:.2f}")
    return f"At the end: {', '.join(parts)}."
