"""What frozen features know: a linear classifier on each modality, and all of them averaged."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.diagnostics.arrays import Floats

FOLDS = 3


def probe_probabilities(
    features: NDArray[Any],
    labels: NDArray[Any],
    num_classes: int,
    training: tuple[NDArray[Any], NDArray[Any]] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Floats | None:
    """Return the class probabilities that logistic regression gives to features.

    Parameters
    ----------
    features : array, shape (N, ...), floating
    labels : array, shape (N,), integer
    num_classes : int
        Number of classes, C.
    training : features and labels, optional
        What it learns from. Without them it is cross-validated on the samples themselves, in three folds.
    samples : int
        At most so many are learnt from, drawn at random.
    seed : int

    Returns
    -------
    array, shape (N, C), or None
        NaN for the samples that took no part. None where there is too little to learn from: fewer than two classes, of
        each as many samples as folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, known, chosen = _usable(*(training or (features, labels)), samples, seed)
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
            found = model.predict_proba(tested) if len(tested) else np.zeros((0, len(model.classes_)))
        else:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
            found = cross_val_predict(model, rows, known, cv=folds, method="predict_proba")
    probabilities = np.full((len(labels), num_classes), np.nan)
    probabilities[chosen] = 0.0
    probabilities[np.ix_(chosen, np.unique(known))] = found
    return probabilities


def accuracy_of(probabilities: Floats, labels: NDArray[Any]) -> float | None:
    """Return the accuracy of probabilities, shape (N, C), over the rows that are no NaN; None without any."""
    known = np.isfinite(probabilities).all(axis=1)
    return float((probabilities[known].argmax(axis=1) == labels[known]).mean()) if known.any() else None


def late_fusion_accuracy(probabilities: Sequence[Floats | None], labels: NDArray[Any]) -> float | None:
    """Return the accuracy of the averaged probabilities of the probes; None where a modality has none."""
    known = [x for x in probabilities if x is not None]
    return accuracy_of(np.mean(known, axis=0), labels) if known and len(known) == len(probabilities) else None


def _usable(
    features: NDArray[Any], labels: NDArray[Any], samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.int64]]:
    """Return finite rows, at most so many, with their labels and places."""
    rows = features.reshape(len(features), math.prod(features.shape[1:])).astype(np.float64)
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(kept) > samples:
        kept = np.sort(np.random.default_rng(seed).choice(kept, samples, replace=False))
    return rows[kept], labels[kept], kept
