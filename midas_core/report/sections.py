"""The figures of the page and their descriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

Plot = Callable[[Diagnosis], Figure | None]


@dataclass
class Picture:
    """One figure; its title is the run or, where it shows all runs, the quantity."""

    title: str
    svg: str


@dataclass
class Section:
    """Figures of one kind, a picture for each run or each quantity."""

    title: str
    text: str
    pictures: list[Picture] = field(default_factory=list)


def sections(contents: Sequence[RunContent]) -> list[Section]:
    """Return the figures, in the order of the page; without sections that have nothing to draw."""
    diagnosed = {content.name: content.diagnosis for content in contents if content.diagnosis is not None}

    def per_run(title: str, text: str, key: str, plot: Plot, describe: Callable[[Diagnosis], str]) -> Section:
        pictures = [
            _picture(f"{key}{i}", name, plot(diagnosis), describe(diagnosis))
            for i, (name, diagnosis) in enumerate(diagnosed.items())
        ]
        return Section(title, text, pictures)

    use = per_run(
        "What reaches the decision",
        "Dot: the fused model with this modality alone, the others absent. Ring: what is within its reach, the best of "
        "a linear probe on its features, its unimodal head and a model trained on it alone. A long line between them "
        "means that the model does not use what it has. In accuracy, or in recall averaged over classes where classes "
        "are uneven.",
        "use",
        plot_use,
        _use_text,
    )
    both = Section(
        "Aligned and misaligned samples",
        "Aligned: the right class comes first. Misaligned: each modality comes from a sample of another class, and "
        "all the true classes are among the top predictions, as many as there are modalities.",
    )
    if diagnosed:
        both.pictures = [_picture("accuracy", "", plot_accuracy(diagnosed), _accuracy_text(diagnosed))]
    everyone = list(diagnosed.values())
    sure = per_run(
        "Whom the model follows",
        "On misaligned samples: the mean probability that the fused model gives to the class of each modality.",
        "sure",
        lambda d: plot_confidence(d) if d.pairs else None,
        _confidence_text,
    )
    alike = per_run(
        "Similarity of exchanged features",
        "Cosine similarity of the features that take each other's place in misaligned samples. MIDAS gives more weight "
        "to the similar ones.",
        "alike",
        lambda d: plot_similarity(d, beside=everyone) if any(x.similarity for x in d.modalities) else None,
        _similarity_text,
    )
    calibration = per_run(
        "Calibration",
        "How often the model is right against how sure it is.",
        "calibration",
        plot_reliability,
        lambda d: f"Reliability diagram; expected calibration error {100 * d.calibration_error:.1f} %.",
    )
    everything = [use, both, sure, *_histories(contents), alike, calibration]
    for section in everything:
        section.pictures = [picture for picture in section.pictures if picture.svg]
    return [section for section in everything if section.pictures]


def _histories(contents: Sequence[RunContent]) -> list[Section]:
    """Return the curves over training: a picture for each quantity, the runs over each other in it."""
    names = list(dict.fromkeys(name for c in contents for name in c.run.modalities))
    runs = {c.name: c.runs for c in contents}
    accuracy = Section("Accuracy over training", "On validation data, where it was logged.")
    confidence = Section(
        "Confidence over training",
        "The share of a modality in the confidence on misaligned samples: solid for the fused classifier, dashed for "
        "the unimodal ones. Where solid lies below dashed, the fused model trusts the modality less than it deserves.",
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
    # The largest alpha of all modalities and runs: one axis for all.
    alphas = (run.series(f"alpha_{name}")[1] for c in contents for run in c.runs for name in names)
    top = max((x for values in alphas for x in values), default=1.0)
    for i, (section, title, lines, label, share) in enumerate(wanted):
        figure = plot_history(runs, lines, label=label, share=share, top=max(1.1, 1.02 * top))
        text = f"{section.title}, {title}. {_last(contents, lines)}"
        section.pictures.append(_picture(f"history{i}", title, figure, text))
    return [accuracy, confidence, alpha]


def _picture(key: str, title: str, figure: Figure | None, description: str) -> Picture:
    return Picture(title, "" if figure is None else inline_svg(figure, key, description))


def _use_text(d: Diagnosis) -> str:
    measured = d.measured
    available = measured.available
    parts = [
        f"{name} alone {percent(x)}, within reach {percent(available[name])}" for name, x in measured.alone.items()
    ]
    unit = "Accuracy" if measured.unit == "accuracy" else "Recall averaged over classes"
    return f"{unit}: {'; '.join(parts)}; fused model {percent(measured.fused)}, chance {percent(measured.chance)}."


def _accuracy_text(diagnosed: Mapping[str, Diagnosis]) -> str:
    parts = [
        f"{name}: aligned {percent(d.accuracy)}, misaligned {percent(d.misaligned_accuracy)}"
        for name, d in diagnosed.items()
    ]
    return f"Accuracy of {'; '.join(parts)}."


def _confidence_text(d: Diagnosis) -> str:
    parts = [f"{x.name} {percent(x.pair_confidence)}" for x in d.modalities]
    return f"Mean probability of the class of {listed(parts)} on misaligned samples."


def _similarity_text(d: Diagnosis) -> str:
    parts = [f"{x.name} {x.similarity_mean:.2f}" for x in d.modalities if x.similarity_mean is not None]
    return f"Histogram of cosine similarities; mean of {listed(parts)}." if parts else ""


def _last(contents: Sequence[RunContent], metrics: Iterable[str]) -> str:
    parts = []
    for content in contents:
        for key in metrics:
            values = content.run.series(f"val_{key}")[1] or content.run.series(key)[1]
            if values:
                parts.append(f"{content.name}, {key.replace('_', ' ')} {values[-1]:.2f}")
    return f"At the end: {'; '.join(parts)}."
