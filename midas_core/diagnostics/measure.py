"""The measurements on the kept samples: with modalities absent, on misaligned samples, and by probes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import get_backend
from midas_core.diagnostics.calibration import mean
from midas_core.diagnostics.diagnosis import ClassScores, ModalityScores
from midas_core.diagnostics.model import Floats, Model, predictions
from midas_core.diagnostics.pairs import (
    cosine,
    in_top,
    misaligned_chance,
    misaligned_interval,
    misaligned_pairs,
    shares,
    unimodal_shares,
)
from midas_core.modalities import feature_of, leaves, map_leaves, mask_of, pool_tokens
from midas_core.pairing import clear_rows

BACKEND = get_backend(np.zeros(0))
SIMILARITY_BINS = 40
FOLDS = 3


def coalitions(num_modalities: int) -> list[tuple[bool, ...]]:
    """Return every set of M modalities that can be present, as M booleans; the empty one first, the full one last.

    Parameters
    ----------
    num_modalities : int

    Returns
    -------
    list of 2**M tuples of bool

    Examples
    --------
    >>> coalitions(2)
    [(False, False), (False, True), (True, False), (True, True)]
    """
    return list(product((False, True), repeat=num_modalities))


def shapley_values(values: NDArray[Any]) -> Floats:
    """Return the Shapley value of each modality.

    phi_m = sum over the coalitions S without m of s! (M - s - 1)! / M! * (v(S + m) - v(S)), s the size of S.

    They sum to v(all) - v(none).

    Parameters
    ----------
    values : array, shape (2^M, ...)
        v of each coalition, in the order of `coalitions`.

    Returns
    -------
    array, shape (M, ...), float64

    Examples
    --------
    >>> shapley_values(np.array([0.1, 0.8, 0.3, 0.9])).round(2)  # nothing, the second, the first, both
    array([0.15, 0.65])
    """
    values = values.astype(np.float64)
    count = len(values).bit_length() - 1
    if len(values) != 2**count:
        raise ValueError(f"values: expected one for each of 2^M coalitions, got {len(values)}")
    sets = coalitions(count)
    index = {coalition: i for i, coalition in enumerate(sets)}
    result = np.zeros((count, *values.shape[1:]))
    for coalition in sets:
        weight = count * math.comb(count - 1, sum(coalition))
        for m in range(count):
            if not coalition[m]:
                joined = (*coalition[:m], True, *coalition[m + 1 :])
                result[m] += (values[index[joined]] - values[index[coalition]]) / weight
    return result


class Kept:
    """The kept samples, labels (N,) and M modalities on the host, and the answers of the model on them."""

    def __init__(
        self,
        model: Model,
        labels: NDArray[np.int64],
        features: Sequence[Any],
        num_classes: int,
        absent: str,
        rounds: int,
        seed: int,
    ) -> None:
        self.labels, self.features, self.count = labels, list(features), len(features)
        #: For probes, shape (N, ...); None where a modality is not floating.
        self.vectors = [vectors_of(x) for x in features]
        self.sets = coalitions(self.count)
        self.pairs = misaligned_pairs(labels, self.count, rounds=rounds, seed=seed)
        #: (2^M, N), whether the model is right with only these modalities present.
        self.correct = self._coalitions(model, absent, np.random.default_rng(seed))
        self.sample_shapley = shapley_values(self.correct)
        self._mixed(model, num_classes)
        self._unimodal(model)

    def alone(self, m: int) -> NDArray[np.bool_]:
        """Return whether the model is right on each sample with every other modality absent."""
        return np.asarray(self.correct[self.sets.index(tuple(k == m for k in range(self.count)))])

    def without(self, m: int) -> NDArray[np.bool_]:
        """Return whether the model is right on each sample with one modality absent."""
        return np.asarray(self.correct[self.sets.index(tuple(k != m for k in range(self.count)))])

    def cosines(self, m: int) -> Floats | None:
        """Return the similarity of the features of a modality to those that take their place."""
        if self.vectors[m] is None:
            return None
        x, rows = pool_tokens(self.features[m], BACKEND), self.pairs.sources[m]
        replaced = rows != self.pairs.base
        return cosine(x[rows[replaced]], x[self.pairs.base[replaced]])

    def _coalitions(self, model: Model, absent: str, rng: np.random.Generator) -> NDArray[np.bool_]:
        size = len(self.labels)
        aligned = np.broadcast_to(np.arange(size), (self.count, size))
        missing = [_absent(x, absent, rng) for x in self.features]
        correct = np.zeros((len(self.sets), size), dtype=bool)
        for row, present in zip(correct, self.sets, strict=True):
            features = [x if here else gone for x, gone, here in zip(self.features, missing, present, strict=True)]
            for chunk, logs in model.gather(features, aligned):
                row[chunk] = predictions(logs) == self.labels[chunk]
        return correct

    def _mixed(self, model: Model, num_classes: int) -> None:
        classes = self.pairs.classes
        confidences = np.zeros(classes.shape)
        top = np.zeros(classes.shape[1], dtype=np.int64)
        hits = np.zeros(classes.shape[1], dtype=bool)
        for chunk, logs in model.gather(self.features, self.pairs.sources):
            spoken = classes[:, chunk]
            confidences[:, chunk] = np.take_along_axis(logs, spoken.T, axis=1).T
            top[chunk] = predictions(logs)
            hits[chunk] = in_top(logs, spoken)
        some = classes.shape[1] > 0
        self.misaligned_accuracy: float | None = None
        self.misaligned_interval: tuple[float, float] | None = None
        self.misaligned_chance: float | None = None
        if some and num_classes > self.count:
            self.misaligned_accuracy = mean(hits)
            self.misaligned_interval = misaligned_interval(hits, self.pairs, len(self.labels))
            self.misaligned_chance = misaligned_chance(self.labels, classes)
        self.pair_confidence = [mean(np.exp(x)) if some else None for x in confidences]
        self.followed = [mean(top == x) if some else None for x in classes]
        self.fused_confidence = shares(confidences) if some else [None] * self.count

    def _unimodal(self, model: Model) -> None:
        logs = model.unimodal_log_probabilities(self.features)
        self.unimodal: list[tuple[float | None, float | None]] = [(None, None)] * self.count
        self.confidence: Sequence[float | None] = [None] * self.count
        if logs is not None:
            rows = np.arange(len(self.labels))
            self.unimodal = [rates(predictions(x) == self.labels, self.labels) for x in logs]
            if self.pairs.sources.shape[1]:
                self.confidence = unimodal_shares([x[rows, self.labels] for x in logs], self.pairs.sources)


def rates(correct: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """Return accuracy, and recall averaged over the classes that occur."""
    counts = np.bincount(labels)
    hits = np.bincount(labels, weights=correct)
    return mean(correct), mean(hits[counts > 0] / counts[counts > 0])


def modality_scores(kept: Kept, names: Sequence[str], probes: Sequence[Floats | None]) -> tuple[ModalityScores, ...]:
    """Return the scores of each modality."""
    result = []
    for m, name in enumerate(names):
        cosines, (probed, recalled) = kept.cosines(m), rates_of(probes[m], kept.labels)
        some = cosines is not None and len(cosines) > 0
        result.append(
            ModalityScores(
                name,
                accuracy_alone=mean(kept.alone(m)),
                accuracy_without=mean(kept.without(m)),
                shapley=mean(kept.sample_shapley[m]),
                probe_accuracy=probed,
                unimodal_accuracy=kept.unimodal[m][0],
                pair_confidence=kept.pair_confidence[m],
                followed=kept.followed[m],
                fused_confidence=kept.fused_confidence[m],
                confidence=kept.confidence[m],
                similarity=_histogram(cosines) if cosines is not None and some else (),
                similarity_mean=mean(cosines) if cosines is not None and some else None,
                probe_recall=recalled,
                unimodal_recall=kept.unimodal[m][1],
            )
        )
    return tuple(result)


def class_scores(kept: Kept, names: Sequence[str]) -> tuple[ClassScores, ...]:
    """Return the scores of each class."""
    result = []
    for c, name in enumerate(names):
        rows = kept.labels == c
        alone, shapley = [kept.alone(m) for m in range(kept.count)], kept.sample_shapley
        recalls = [tuple(mean(x[rows]) for x in values) for values in ([kept.correct[-1]], alone, shapley)]
        result.append(ClassScores(name, int(rows.sum()), recalls[0][0], recalls[1], recalls[2]))
    return tuple(result)


def _absent(modality: Any, kind: str, rng: np.random.Generator) -> Any:
    size = len(leaves(modality)[0])
    if kind == "zero":
        return clear_rows(modality, np.ones(size, dtype=bool), BACKEND)
    if kind == "shuffle":
        order = rng.permutation(size)
        return map_leaves(lambda x: x[order], modality)
    if not isinstance(modality, np.ndarray) or not np.issubdtype(modality.dtype, np.floating):
        shown = modality.dtype if isinstance(modality, np.ndarray) else "several arrays"
        raise TypeError(f"absent: 'mean' needs floating features without a mask, got {shown}")
    return np.broadcast_to(modality.mean(axis=0, dtype=np.float64).astype(modality.dtype), modality.shape)


def vectors_of(modality: Any) -> NDArray[Any] | None:
    """Return a modality for a probe: its floating feature, with a mask the mean of its tokens; None without any."""
    feature = feature_of(modality, BACKEND)
    if not np.issubdtype(feature.dtype, np.floating):
        return None
    return np.asarray(feature if mask_of(modality) is None else pool_tokens(modality, BACKEND))


def _histogram(cosines: Floats) -> tuple[int, ...]:
    # Rounding may carry a cosine past one.
    counts, _ = np.histogram(np.clip(cosines, -1, 1), bins=SIMILARITY_BINS, range=(-1, 1))
    return tuple(int(n) for n in counts)


def probe_all(kept: Kept, num_classes: int, training: tuple[NDArray[Any], list[Any]] | None) -> list[Floats | None]:
    """Return the class probabilities of a probe of each modality; it learns from ``training``, labels and features."""
    result: list[Floats | None] = []
    for m, x in enumerate(kept.vectors):
        known = None if training is None else (vectors_of(training[1][m]), training[0])
        result.append(None if x is None else probe_probabilities(x, kept.labels, num_classes, known))
    return result


def probe_probabilities(
    features: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    training: tuple[Any, NDArray[Any]] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Floats | None:
    """Return the class probabilities (N, C) of logistic regression, NaN in unusable rows; None with too few samples."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    learnt_from, classes_of = training or (features, labels)
    rows, known, chosen = _usable(learnt_from, classes_of, samples, seed)
    classes, counts = np.unique(known, return_counts=True)
    enough = np.isin(known, classes[counts >= FOLDS])
    rows, known, chosen = rows[enough], known[enough], chosen[enough]
    if (counts >= FOLDS).sum() < 2:
        return None
    # The penalty keeps wide features from being learnt by heart; 200 steps are enough to tell whether they know.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if training is not None:
            tested, _, chosen = _usable(features, labels, len(labels), seed)
            model.fit(rows, known)
            predicted = model.predict_proba(tested) if len(tested) else np.zeros((0, len(model.classes_)))
        else:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
            predicted = cross_val_predict(model, rows, known, cv=folds, method="predict_proba")
    probabilities = np.full((len(labels), num_classes), np.nan)
    probabilities[chosen] = 0.0
    probabilities[np.ix_(chosen, np.unique(known))] = predicted
    return probabilities


def rates_of(probabilities: Floats | None, labels: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return accuracy and mean recall of probabilities (N, C) over the rows that are no NaN; None without any."""
    known = np.zeros(0, bool) if probabilities is None else np.isfinite(probabilities).all(axis=1)
    if probabilities is None or not known.any():
        return None, None
    return rates(probabilities[known].argmax(axis=1) == labels[known], labels[known])


def late_fusion(probes: Sequence[Floats | None], labels: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return accuracy and mean recall of the averaged probabilities of the probes; None where a modality has none."""
    known = [x for x in probes if x is not None]
    return rates_of(np.mean(known, axis=0) if len(known) == len(probes) else None, labels)


def _usable(
    features: NDArray[Any], labels: NDArray[Any], samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64]]:
    """Return finite rows, at most so many, with their labels and places."""
    rows = features.reshape(len(features), math.prod(features.shape[1:])).astype(np.float64)
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(kept) > samples:
        kept = np.sort(np.random.default_rng(seed).choice(kept, samples, replace=False))
    return rows[kept], labels[kept], kept
