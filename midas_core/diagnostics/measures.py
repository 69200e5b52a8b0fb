"""What is measured on the kept samples: with modalities absent, and on misaligned samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.diagnostics.arrays import Floats, predictions
from midas_core.diagnostics.evaluate import Model
from midas_core.diagnostics.pairs import (
    cosine,
    in_top,
    mean,
    misaligned_chance,
    misaligned_interval,
    misaligned_pairs,
    shares,
    unimodal_shares,
)
from midas_core.diagnostics.probe import accuracy_of, probe_probabilities
from midas_core.diagnostics.results import ClassScores, ModalityScores
from midas_core.diagnostics.shapley import coalitions, shapley_values

SIMILARITY_BINS = 40


class Kept:
    """The kept samples and the model, called on them.

    Parameters
    ----------
    model : Model
    labels : array, shape (N,), int64
    features : sequence of M arrays, shapes (N, ...)
    num_classes : int
    absent : {"zero", "mean", "shuffle"}
    rounds, seed : int
    """

    def __init__(
        self,
        model: Model,
        labels: NDArray[np.int64],
        features: Sequence[NDArray[Any]],
        num_classes: int,
        absent: str,
        rounds: int,
        seed: int,
    ) -> None:
        self.labels, self.features = labels, list(features)
        self.count = len(self.features)
        self.sets = coalitions(self.count)
        self.pairs = misaligned_pairs(labels, self.count, rounds=rounds, seed=seed)
        #: (2^M, N), whether the model is right with only these modalities present.
        self.correct = self._coalitions(model, absent, np.random.default_rng(seed))
        self.sample_shapley: Floats = shapley_values(self.correct)
        self._mixed(model, num_classes)
        self._unimodal(model)

    def present(self, *modalities: int) -> NDArray[np.bool_]:
        """Return whether the model is right on each sample with only some modalities present."""
        return np.asarray(self.correct[self.sets.index(tuple(m in modalities for m in range(self.count)))])

    def alone(self, m: int) -> NDArray[np.bool_]:
        """Return whether the model is right on each sample with every other modality absent."""
        return self.present(m)

    def without(self, m: int) -> NDArray[np.bool_]:
        """Return whether the model is right on each sample with one modality absent."""
        return self.present(*(k for k in range(self.count) if k != m))

    @cached_property
    def cosines(self) -> list[Floats | None]:
        """The similarity of what was replaced to what came, for each modality."""
        found: list[Floats | None] = []
        for x, rows in zip(self.features, self.pairs.sources, strict=True):
            replaced = rows != self.pairs.base
            known = np.issubdtype(x.dtype, np.floating)
            found.append(cosine(x[rows[replaced]], x[self.pairs.base[replaced]]) if known else None)
        return found

    def _coalitions(self, model: Model, absent: str, rng: np.random.Generator) -> NDArray[np.bool_]:
        size = len(self.labels)
        own = np.broadcast_to(np.arange(size), (self.count, size))
        missing = [_absent(x, absent, rng) for x in self.features]
        correct = np.zeros((len(self.sets), size), dtype=bool)
        for row, present in zip(correct, self.sets, strict=True):
            given = [x if here else gone for x, gone, here in zip(self.features, missing, present, strict=True)]
            for chunk, logs in model.gather(given, own):
                row[chunk] = predictions(logs) == self.labels[chunk]
        return correct

    def _mixed(self, model: Model, num_classes: int) -> None:
        classes = self.pairs.classes
        found = np.zeros(classes.shape)
        top = np.zeros(classes.shape[1], dtype=np.int64)
        hits = np.zeros(classes.shape[1], dtype=bool)
        for chunk, logs in model.gather(self.features, self.pairs.sources):
            mine = classes[:, chunk]
            found[:, chunk] = np.take_along_axis(logs, mine.T, axis=1).T
            top[chunk] = predictions(logs)
            hits[chunk] = in_top(logs, mine)
        some = classes.shape[1] > 0
        self.misaligned_accuracy: float | None = None
        self.misaligned_interval: tuple[float, float] | None = None
        self.misaligned_chance: float | None = None
        if some and num_classes > self.count:
            self.misaligned_accuracy = mean(hits)
            self.misaligned_interval = misaligned_interval(hits, self.pairs, len(self.labels))
            self.misaligned_chance = misaligned_chance(self.labels, classes)
        self.pair_confidence = [mean(np.exp(x)) if some else None for x in found]
        self.followed = [mean(top == x) if some else None for x in classes]
        self.fused_confidence = shares(found) if some else [None] * self.count

    def _unimodal(self, model: Model) -> None:
        logs = model.unimodal_log_probabilities(self.features)
        self.unimodal_accuracy: list[float | None] = [None] * self.count
        self.confidence: Sequence[float | None] = [None] * self.count
        if logs is not None:
            rows = np.arange(len(self.labels))
            self.unimodal_accuracy = [mean(predictions(x) == self.labels) for x in logs]
            if self.pairs.sources.shape[1]:
                self.confidence = unimodal_shares([x[rows, self.labels] for x in logs], self.pairs.sources)


def probe_all(kept: Kept, num_classes: int, training: tuple[NDArray[Any], ...] | None = None) -> list[Floats | None]:
    """Return what a probe of each modality says; it learns from ``training``, labels and M features, where given."""
    found: list[Floats | None] = []
    for m, x in enumerate(kept.features):
        given = None if training is None else (training[m + 1], training[0])
        floating = np.issubdtype(x.dtype, np.floating)
        found.append(probe_probabilities(x, kept.labels, num_classes, given) if floating else None)
    return found


def modality_scores(kept: Kept, names: Sequence[str], probes: Sequence[Floats | None]) -> tuple[ModalityScores, ...]:
    """Return the scores of each modality."""
    found = []
    for m, name in enumerate(names):
        cosines, learnt = kept.cosines[m], probes[m]
        known = cosines is not None and len(cosines) > 0
        found.append(
            ModalityScores(
                name,
                accuracy_alone=mean(kept.alone(m)),
                accuracy_without=mean(kept.without(m)),
                shapley=mean(kept.sample_shapley[m]),
                probe_accuracy=None if learnt is None else accuracy_of(learnt, kept.labels),
                unimodal_accuracy=kept.unimodal_accuracy[m],
                pair_confidence=kept.pair_confidence[m],
                followed=kept.followed[m],
                fused_confidence=kept.fused_confidence[m],
                confidence=kept.confidence[m],
                similarity=_histogram(cosines) if cosines is not None and known else (),
                similarity_mean=mean(cosines) if cosines is not None and known else None,
            )
        )
    return tuple(found)


def class_scores(kept: Kept, names: Sequence[str]) -> tuple[ClassScores, ...]:
    """Return the scores of each class."""
    found = []
    everything = range(kept.count)
    for c, name in enumerate(names):
        mine = kept.labels == c
        found.append(
            ClassScores(
                name,
                int(mine.sum()),
                mean(kept.present(*everything)[mine]),
                tuple(mean(kept.alone(m)[mine]) for m in everything),
                tuple(mean(kept.sample_shapley[m][mine]) for m in everything),
            )
        )
    return tuple(found)


def _absent(x: NDArray[Any], kind: str, rng: np.random.Generator) -> NDArray[Any]:
    if kind == "shuffle":
        return np.asarray(x[rng.permutation(len(x))])
    if kind == "zero":
        return np.zeros_like(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"absent: 'mean' needs floating features, got {x.dtype}")
    return np.broadcast_to(x.mean(axis=0, dtype=np.float64).astype(x.dtype), x.shape)


def _histogram(cosines: Floats) -> tuple[int, ...]:
    # Rounding may carry a cosine past one.
    counts, _ = np.histogram(np.clip(cosines, -1, 1), bins=SIMILARITY_BINS, range=(-1, 1))
    return tuple(int(n) for n in counts)
