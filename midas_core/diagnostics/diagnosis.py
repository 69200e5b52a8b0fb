"""The result of a diagnosis as plain data: numbers of the model, of each modality and of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas_core.diagnostics.calibration import Bin
from midas_core.files import plain, read_dataclass

UNEVEN = 0.1
"""Share of the most frequent class, beyond 1 / C, from which recalls take the place of accuracies."""


@dataclass(frozen=True)
class ModalityScores:
    """Scores of one modality; None where something was not measured.

    Attributes
    ----------
    name : str
    accuracy_alone, accuracy_without : float
        Accuracy with every other modality absent, and with this one absent.
    shapley : float
        Shapley value of the accuracy: the mean gain over all orders in which modalities could be added.
    probe_accuracy, unimodal_accuracy, reference_accuracy : float or None
        Accuracy of a linear classifier trained on the frozen features (what the encoder knows), of the unimodal head,
        and of a model trained on this modality alone, where you have passed it.
    pair_confidence, followed : float or None
        On misaligned samples, the mean fused probability of the class of this modality, and the share in which the top
        prediction is that class.
    fused_confidence, confidence : float or None
        On misaligned samples, the mean share of this modality in the confidences of the fused head (q) and of the
        unimodal heads (c~).
    similarity : tuple of int
        Histogram of the cosine similarity of the features to those that take their place in misaligned samples, over
        equal intervals from -1 to 1. Empty where the features are not floating.
    similarity_mean : float or None
    probe_recall, unimodal_recall, reference_recall : float or None
        Recall averaged over classes of probe, unimodal head and reference.
    """

    name: str
    accuracy_alone: float
    accuracy_without: float
    shapley: float
    probe_accuracy: float | None = None
    unimodal_accuracy: float | None = None
    reference_accuracy: float | None = None
    pair_confidence: float | None = None
    followed: float | None = None
    fused_confidence: float | None = None
    confidence: float | None = None
    similarity: tuple[int, ...] = ()
    similarity_mean: float | None = None
    probe_recall: float | None = None
    unimodal_recall: float | None = None
    reference_recall: float | None = None

    @property
    def available(self) -> float | None:
        """The best accuracy this modality is known to allow: of probe, unimodal head and reference."""
        return _best((self.probe_accuracy, self.unimodal_accuracy, self.reference_accuracy))

    @property
    def unused(self) -> float | None:
        """The accuracy that does not reach the decision: available accuracy less accuracy alone."""
        return None if self.available is None else self.available - self.accuracy_alone


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; NaN without samples.

    Attributes
    ----------
    name : str
    count : int
        Samples of the class among those that were kept.
    recall : float
    recall_alone : tuple of M floats
        Recall with every other modality absent.
    shapley : tuple of M floats
        Shapley values of the recall.
    """

    name: str
    count: int
    recall: float
    recall_alone: tuple[float, ...]
    shapley: tuple[float, ...]


class Measured(NamedTuple):
    """The numbers of a verdict: accuracies, or mean recalls with the noise of so many ``samples`` of even classes."""

    unit: str
    fused: float
    chance: float
    late_fusion: float | None
    samples: float
    alone: dict[str, float]
    shapley: dict[str, float]
    sources: dict[str, dict[str, float | None]]

    @property
    def available(self) -> dict[str, float | None]:
        """The best of probe, unimodal head and reference, by modality."""
        return {name: _best(sources.values()) for name, sources in self.sources.items()}

    @property
    def shapley_shares(self) -> dict[str, float]:
        """The share of each modality in the sum of the Shapley values; negative values count as 0."""
        total = sum(max(x, 0.0) for x in self.shapley.values())
        return {name: max(x, 0.0) / total if total > 0 else float("nan") for name, x in self.shapley.items()}


@dataclass(frozen=True)
class Diagnosis:
    """How a model uses its modalities. Shares lie in 0 ... 1.

    Attributes
    ----------
    samples : int
        Samples seen.
    accuracy, macro_f1, calibration_error : float
        On all samples seen, as the next two; the expected calibration error.
    batch_f1 : float
        The mean of the macro-F1 of each batch, weighted by its size, over the classes that occur in the batch: what the
        authors' code reports as F1. It depends on the batches.
    reliability : tuple of Bin
    kept : int
        Samples that all the rest was measured on, with the model: a uniform draw of those that have every modality.
    pairs : int
        Misaligned samples.
    misaligned_accuracy : float or None
        Share of the misaligned samples whose true classes are all among the top M predictions. None without pairs, and
        unless M < C: it would always be 1.
    misaligned_interval : (low, high) or None
        The interval of 95 %, for other samples of the same kind; see `midas_core.diagnostics.misaligned_interval`.
    misaligned_chance : float or None
        Misaligned accuracy of a model that always names the M most frequent classes.
    chance : float
        Share of the most frequent class.
    empty_accuracy : float
        Accuracy with every modality absent.
    absent : str
        Replacement of an absent modality.
    probe : str or None
        Data of the probes: "training" samples, or "cross-validation" on the kept ones.
    modalities : tuple of M `ModalityScores`
    classes : tuple of C `ClassScores`
    late_fusion_accuracy, late_fusion_recall : float or None
        Accuracy and mean recall of the averaged probabilities of the probes: what the features could do without
        learning from each other. None without probes.
    midas : bool or None
        Whether MIDAS trained the model; None where no criterion says so.
    sample_shapley : array, shape (kept, M), float64
        Shapley values of each kept sample being right; their mean is the modality's. Not in `to_dict`.
    sample_indices : array, shape (kept,), int64
        Which of the samples seen were kept. Not in `to_dict`.
    """

    samples: int
    accuracy: float
    macro_f1: float
    batch_f1: float
    calibration_error: float
    reliability: tuple[Bin, ...]
    kept: int
    pairs: int
    misaligned_accuracy: float | None
    chance: float
    empty_accuracy: float
    absent: str
    probe: str | None
    modalities: tuple[ModalityScores, ...]
    classes: tuple[ClassScores, ...]
    late_fusion_accuracy: float | None = None
    misaligned_interval: tuple[float, float] | None = None
    misaligned_chance: float | None = None
    midas: bool | None = None
    late_fusion_recall: float | None = None
    sample_shapley: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)), compare=False, repr=False)
    sample_indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, text, lists and dicts only: what JSON holds, apart from NaN."""
        return {entry.name: plain(getattr(self, entry.name)) for entry in fields(self) if entry.compare}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Diagnosis:
        """Return the diagnosis of a `to_dict`, None as NaN where a number has to be; ``ValueError`` if it is none."""
        try:
            diagnosis: Diagnosis = read_dataclass(Diagnosis, content, largest=1 + 1e-9)
        except ValueError as error:
            raise ValueError(f"diagnosis: expected the result of Diagnosis.to_dict, got another: {error}") from None
        counts = {len(x) for scores in diagnosis.classes for x in (scores.recall_alone, scores.shapley)}
        if not diagnosis.modalities or not counts <= {len(diagnosis.modalities)}:
            count = len(diagnosis.modalities)
            raise ValueError(f"diagnosis: expected values for {count} modalities, got {sorted(counts)}")
        return diagnosis

    def metrics(self) -> dict[str, float]:
        """Return the numbers worth following over training, named as in a run folder: for `RunLogger.log`."""
        keys = ("accuracy", "macro_f1", "misaligned_accuracy", "calibration_error")
        values = {key: getattr(self, key) for key in keys}
        for key in ("confidence", "fused_confidence", "accuracy_alone", "shapley"):
            values |= {f"{key}_{scores.name}": getattr(scores, key) for scores in self.modalities}
        return {key: x for key, x in values.items() if x is not None}

    def to_frame(self, table: str = "modalities") -> Any:
        """Return a pandas DataFrame of "modalities", "classes" or "reliability", one row for each of them."""
        if table not in ("modalities", "classes", "reliability"):
            raise ValueError(f"table: expected 'modalities', 'classes' or 'reliability', got {table!r}")
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ImportError("pandas is not installed: pip install pandas") from error
        rows = []
        for scores in getattr(self, table):
            row = plain(scores)
            row.pop("similarity", None)
            for key in ("recall_alone", "shapley"):
                if isinstance(row.get(key), list):
                    row |= {f"{key}_{name}": x for name, x in zip(self.names, row.pop(key), strict=True)}
            rows.append(row)
        return pandas.DataFrame(rows)

    def with_reference(
        self,
        accuracy: Mapping[str, float] | Sequence[float],
        recall: Mapping[str, float] | Sequence[float] | None = None,
    ) -> Diagnosis:
        """Return a copy with the scores of models that were trained on one modality alone.

        M floats each, as a dict by modality or a sequence: ``accuracy``, and the ``recall`` averaged over classes,
        which decides where classes are uneven.
        """
        accuracies = self._by_name("accuracy", accuracy)
        recalls = dict.fromkeys(self.names) if recall is None else self._by_name("recall", recall)
        scores = [
            replace(x, reference_accuracy=accuracies[x.name], reference_recall=recalls[x.name]) for x in self.modalities
        ]
        return replace(self, modalities=tuple(scores))

    def _by_name(self, argument: str, values: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
        named = values if isinstance(values, Mapping) else dict(zip(self.names, values, strict=False))
        if len(values) != len(self.names) or set(named) != set(self.names):
            raise ValueError(f"{argument}: expected one for each of {list(self.names)}, got {list(values)}")
        return {name: float(x) for name, x in named.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modalities."""
        return tuple(scores.name for scores in self.modalities)

    @property
    def shapley_shares(self) -> tuple[float, ...]:
        """The share of each modality in the sum of the Shapley values; negative values count as 0."""
        return tuple(self.measured_in("accuracy").shapley_shares.values())

    @property
    def measured(self) -> Measured:
        """The numbers that the verdict rests on: recalls averaged over classes where these are uneven."""
        counted = self.counted
        uneven = len(counted) > 1 and self.chance - 1 / len(counted) > UNEVEN
        recalls = [_best((x.probe_recall, x.unimodal_recall, x.reference_recall)) for x in self.modalities]
        # Diagnoses of earlier releases know the accuracy of a probe, and not its recall.
        known = all(x.available is None or r is not None for x, r in zip(self.modalities, recalls, strict=True))
        return self.measured_in("recall" if uneven and known else "accuracy")

    def measured_in(self, unit: str) -> Measured:
        """Return the numbers of a verdict in "accuracy", or in "recall" averaged over classes."""
        keys = ("probe", "unimodal", "reference")
        sources = {x.name: {key: getattr(x, f"{key}_{unit}") for key in keys} for x in self.modalities}
        if unit == "accuracy":
            alone = {x.name: x.accuracy_alone for x in self.modalities}
            shapley = {x.name: x.shapley for x in self.modalities}
            late = self.late_fusion_accuracy
            return Measured(unit, self.accuracy, self.chance, late, self.kept, alone, shapley, sources)
        counted = self.counted
        alone, shapley = (
            {name: fmean(getattr(x, key)[m] for x in counted) for m, name in enumerate(self.names)}
            for key in ("recall_alone", "shapley")
        )
        # As many samples of even classes have the standard error of the mean recall.
        samples = len(counted) ** 2 / sum(1 / x.count for x in counted)
        fused = fmean(x.recall for x in counted)
        return Measured(unit, fused, 1 / len(counted), self.late_fusion_recall, samples, alone, shapley, sources)

    @property
    def counted(self) -> list[ClassScores]:
        """The classes that occur among the kept samples."""
        return [scores for scores in self.classes if scores.count]


def _best(values: Any) -> float | None:
    return max((x for x in values if x is not None), default=None)
