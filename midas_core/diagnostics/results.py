"""What was found out about a model, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from midas_core.diagnostics.arrays import Floats, Ints
from midas_core.diagnostics.calibration import Bin
from midas_core.text import printable

ARRAYS = ("sample_shapley", "sample_indices")


@dataclass(frozen=True)
class ModalityScores:
    """How one modality fares in a model.

    Attributes
    ----------
    name : str
    accuracy_alone : float
        Accuracy with every other modality absent.
    accuracy_without : float
        Accuracy with this one absent.
    shapley : float
        Its Shapley value of the accuracy: the mean gain over all orders in which modalities could be added.
    probe_accuracy : float or None
        Of a linear classifier trained on its frozen features: what the encoder knows.
    unimodal_accuracy : float or None
        Of its unimodal head, where there is one.
    reference_accuracy : float or None
        Of a model trained on this modality alone, where the user has given it.
    pair_confidence : float or None
        On misaligned samples, the mean fused probability of the class that it speaks for.
    followed : float or None
        On misaligned samples, the share in which the top prediction is the class that it speaks for.
    fused_confidence : float or None
        On misaligned samples, its mean share in the fused confidences (q).
    confidence : float or None
        On misaligned samples, its mean share in the confidences of the unimodal heads (c~), where there are any.
    similarity : tuple of int
        Histogram of the cosine similarity of its features to those that take their place in misaligned samples, over
        equal intervals from -1 to 1. Empty where the features are not floating.
    similarity_mean : float or None
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

    @property
    def available(self) -> float | None:
        """What this modality is known to be good for: the best of probe, unimodal head and reference."""
        known = [self.probe_accuracy, self.unimodal_accuracy, self.reference_accuracy]
        return max((x for x in known if x is not None), default=None)

    @property
    def unused(self) -> float | None:
        """How much of that does not reach the decision: available accuracy less accuracy alone."""
        return None if self.available is None else self.available - self.accuracy_alone


@dataclass(frozen=True)
class ClassScores:
    """How one class fares.

    Attributes
    ----------
    name : str
    count : int
        Samples of the class among those that were kept.
    recall : float
        NaN without samples, as all that follows.
    recall_alone : tuple of M floats
        With every other modality absent.
    shapley : tuple of M floats
        Of the recall.
    """

    name: str
    count: int
    recall: float
    recall_alone: tuple[float, ...]
    shapley: tuple[float, ...]


@dataclass(frozen=True)
class Diagnosis:
    """How a model uses its modalities.

    Shares lie in 0 ... 1. What needs the model again (all but the first group) is measured on the kept samples.

    Attributes
    ----------
    samples : int
        Seen.
    accuracy, macro_f1 : float
        On all of them.
    batch_f1 : float
        The mean of the macro-F1 of each batch, weighted by its size, over the classes that occur in the batch: what the
        authors' code reports as F1. It depends on the batches.
    calibration_error : float
        Expected calibration error.
    reliability : tuple of Bin
    kept : int
        Samples that the rest was measured on, a uniform draw of those seen that have every modality.
    pairs : int
        Misaligned samples.
    misaligned_accuracy : float or None
        Share of them whose true classes are all among the top M predictions. None where M is not below C, which makes
        it always 1, and without pairs.
    misaligned_interval : (low, high) or None
        Of 95 %, for other samples of the same kind; see `midas_core.diagnostics.misaligned_interval`.
    misaligned_chance : float or None
        Of a model that always names the M most frequent classes.
    chance : float
        Share of the most frequent class.
    empty_accuracy : float
        Accuracy with every modality absent.
    absent : str
        What took the place of an absent modality.
    probe : str or None
        What the probes learnt from: "training" samples, or "cross-validation" on the kept ones.
    modalities : tuple of M `ModalityScores`
    classes : tuple of C `ClassScores`
    late_fusion_accuracy : float or None
        Of the averaged probabilities of the probes: what the features of all modalities could do without learning from
        each other. None without probes.
    midas : bool or None
        Whether MIDAS trained the model; None where no criterion was given that says so.
    sample_shapley : array, shape (kept, M), float64
        Shapley values of each kept sample being right; their mean is that of the set. Not in `to_dict`.
    sample_indices : array, shape (kept,), int64
        Which of the samples seen these are. Not in `to_dict`.
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
    sample_shapley: Floats = field(default_factory=lambda: np.zeros((0, 0)), compare=False, repr=False)
    sample_indices: Ints = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, text, lists and dicts only; what JSON holds, but for NaN."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self) if each.name not in ARRAYS}

    def metrics(self) -> dict[str, float]:
        """Return what is worth following over training, by the names of the run folder: for `RunLogger.log`."""
        found: dict[str, float | None] = {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "misaligned_accuracy": self.misaligned_accuracy,
            "calibration_error": self.calibration_error,
        }
        for key in ("confidence", "fused_confidence", "accuracy_alone", "shapley"):
            found |= {f"{key}_{each.name}": getattr(each, key) for each in self.modalities}
        return {key: x for key, x in found.items() if x is not None}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Diagnosis:
        """Return what `to_dict` was made of; None stands for NaN where a number has to be.

        Raises
        ------
        ValueError
            If something is missing.
        """
        try:
            found = Diagnosis(
                samples=_count(content["samples"]),
                accuracy=_number(content["accuracy"]),
                macro_f1=_number(content["macro_f1"]),
                batch_f1=_number(content["batch_f1"]),
                calibration_error=_number(content["calibration_error"]),
                reliability=tuple(
                    Bin(
                        _number(x["low"]),
                        _number(x["high"]),
                        _count(x["count"]),
                        _number(x["confidence"]),
                        _number(x["accuracy"]),
                    )
                    for x in content["reliability"]
                ),
                kept=_count(content["kept"]),
                pairs=_count(content["pairs"]),
                misaligned_accuracy=_optional(content["misaligned_accuracy"]),
                chance=_number(content["chance"]),
                empty_accuracy=_number(content["empty_accuracy"]),
                absent=str(content["absent"]),
                probe=None if content.get("probe") is None else str(content["probe"]),
                modalities=tuple(_modality(x) for x in content["modalities"]),
                classes=tuple(
                    ClassScores(
                        printable(str(x["name"])),
                        _count(x["count"]),
                        _number(x["recall"]),
                        tuple(map(_number, x["recall_alone"])),
                        tuple(map(_number, x["shapley"])),
                    )
                    for x in content["classes"]
                ),
                late_fusion_accuracy=_optional(content.get("late_fusion_accuracy")),
                misaligned_interval=_interval(content.get("misaligned_interval")),
                misaligned_chance=_optional(content.get("misaligned_chance")),
                midas=content["midas"] if isinstance(content.get("midas"), bool) else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"diagnosis: expected what Diagnosis.to_dict returns, got {error!r}") from None
        counts = {len(each.recall_alone) for each in found.classes} | {len(each.shapley) for each in found.classes}
        if not found.modalities or not counts <= {len(found.modalities)}:
            raise ValueError(f"diagnosis: expected values for {len(found.modalities)} modalities, got {sorted(counts)}")
        return found

    def to_frame(self, table: str = "modalities") -> Any:
        """Return a pandas DataFrame.

        Parameters
        ----------
        table : {"modalities", "classes", "reliability"}

        Returns
        -------
        pandas.DataFrame
            A row for each of them.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        if table not in ("modalities", "classes", "reliability"):
            raise ValueError(f"table: expected 'modalities', 'classes' or 'reliability', got {table!r}")
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ImportError("pandas is not installed: pip install pandas") from error
        rows = []
        names = [each.name for each in self.modalities]
        for each in getattr(self, table):
            row = _plain(each)
            row.pop("similarity", None)
            for key in ("recall_alone", "shapley"):
                if isinstance(row.get(key), list):
                    row |= {f"{key}_{name}": x for name, x in zip(names, row.pop(key), strict=True)}
            rows.append(row)
        return pandas.DataFrame(rows)

    def with_reference(self, accuracy: Mapping[str, float] | Sequence[float]) -> Diagnosis:
        """Return the same with the accuracies of models that were trained on one modality alone."""
        given = accuracy if isinstance(accuracy, Mapping) else dict(zip(self.names, accuracy, strict=False))
        if len(accuracy) != len(self.names) or set(given) != set(self.names):
            raise ValueError(f"accuracy: expected one for each of {list(self.names)}, got {list(accuracy)}")
        return replace(
            self, modalities=tuple(replace(x, reference_accuracy=float(given[x.name])) for x in self.modalities)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modalities."""
        return tuple(each.name for each in self.modalities)

    @property
    def shapley_shares(self) -> tuple[float, ...]:
        """The share of each modality in the sum of the Shapley values; negative ones count as 0."""
        positive = [max(each.shapley, 0.0) for each in self.modalities]
        total = sum(positive)
        return tuple(x / total if total > 0 else float("nan") for x in positive)


def _interval(content: Any) -> tuple[float, float] | None:
    if content is None:
        return None
    low, high = content
    return _number(low), _number(high)


def _modality(content: Mapping[str, Any]) -> ModalityScores:
    alone, without, shapley = (_number(content[key]) for key in ("accuracy_alone", "accuracy_without", "shapley"))
    similarity = tuple(_count(x) for x in content.get("similarity") or ())
    scores = ModalityScores(printable(str(content["name"])), alone, without, shapley, similarity=similarity)
    names = [each.name for each in fields(ModalityScores)[4:] if each.name != "similarity"]
    optional: dict[str, Any] = {key: _optional(content.get(key)) for key in names}
    return replace(scores, **optional)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2**53:
        raise ValueError(f"{str(value)[:20]} is no count")
    return int(value)


def _number(value: Any) -> float:
    number = float("nan") if value is None else float(value)
    if abs(number) > 1 + 1e-9:
        raise ValueError(f"{number} is no share")
    return number


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(x) for x in value]
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value
