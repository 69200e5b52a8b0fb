"""The figures of the page and their descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from midas_core.diagnostics import Diagnosis
from midas_core.diagnostics.plots import (
    plot_accuracy,
    plot_confidence,
    plot_history,
    plot_reliability,
    plot_similarity,
    plot_use,
)
from midas_core.diagnostics.verdict import listed, percent
from midas_core.report.content import RunContent
from midas_core.report.svg import inline_svg


@dataclass
class Picture:
    """One figure.

    Attributes
    ----------
    title : str
        The run that it shows, or, where it shows all of them, the quantity; may be empty.
    svg : str
    """

    title: str
    svg: str


@dataclass
class Section:
    """Figures of one kind, a picture for each run or each quantity.

    Attributes
    ----------
    title, text : str
    pictures : list of Picture
    """

    title: str
    text: str
    pictures: list[Picture] = field(default_factory=list)


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
    found += _histories(contents)
    if diagnosed:
        everyone = [d for *_, d in diagnosed]
        alike = Section(
            "Similarity of exchanged features",
            "Cosine similarity of the features that take each other's place in misaligned samples. MIDAS gives more "
            "weight to the similar ones.",
        )
        alike.pictures = [
            _picture(f"alike{i}", c.name, plot_similarity(d, beside=everyone), _similarity_text(d))
            for i, c, d in diagnosed
            if any(x.similarity for x in d.modalities)
        ]
        calibration = Section("Calibration", "How often the model is right against how sure it is.")
        calibration.pictures = [
            _picture(f"calibration{i}", c.name, plot_reliability(d), _calibration_text(d)) for i, c, d in diagnosed
        ]
        found += [alike, calibration]
    return [section for section in found if section.pictures]


def _histories(contents: Sequence[RunContent]) -> list[Section]:
    """Return the curves over training: a picture for each quantity, the runs over each other in it."""
    names = list(dict.fromkeys(name for c in contents for name in c.run.modalities))
    runs = {c.name: c.runs for c in contents}
    accuracy = Section("Accuracy over training", "On validation data, where it was logged.")
    confidence = Section(
        "Confidence over training",
        "The share of a modality in the confidence on misaligned samples: solid that of the fused classifier, dashed "
        "that of the unimodal ones. Where solid lies below dashed, the fused model trusts it less than it deserves.",
    )
    alpha = Section("Alpha over training", "The weight that MIDAS gives to the weak modality; 1 for the others.")
    wanted: list[tuple[Section, str, dict[str, str], str, bool]] = [
        (accuracy, "aligned", {"accuracy": "-"}, "accuracy (%)", True),
        (accuracy, "misaligned", {"misaligned_accuracy": "-"}, "accuracy (%)", True),
    ]
    for name in names:
        both = {f"fused_confidence_{name}": "-", f"confidence_{name}": "--"}
        wanted.append((confidence, name, both, "share (%)", True))
        wanted.append((alpha, name, {f"alpha_{name}": "-"}, "alpha", False))
    # What alpha goes up to, in any modality and run: one axis for all.
    alphas = (run.series(f"alpha_{name}")[1] for c in contents for run in c.runs for name in names)
    top = max((x for values in alphas for x in values), default=1.0)
    for i, (section, title, lines, label, share) in enumerate(wanted):
        figure = plot_history(runs, lines, label=label, share=share, top=max(1.1, 1.02 * top))
        if figure is not None:
            text = f"{section.title}, {title}. {_last(contents, lines)}"
            section.pictures.append(_picture(f"history{i}", title, figure, text))
    return [accuracy, confidence, alpha]


def _picture(key: str, title: str, figure: Figure, description: str) -> Picture:
    return Picture(title, inline_svg(figure, key, description))


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


def _last(contents: Sequence[RunContent], metrics: Iterable[str]) -> str:
    parts = []
    for content in contents:
        for key in metrics:
            values = (
                content.run.series(f"val_{key}") if content.run.series(f"val_{key}")[0] else content.run.series(key)
            )[1]
            if values:
                parts.append(f"{content.name}, {key.replace('_', ' ')} {values[-1]:.2f}")
    return f"At the end: {'; '.join(parts)}."
