"""What a frozen feature knows: a linear classifier on it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 3


def probe_accuracy(
    features: NDArray[Any],
    labels: NDArray[Any],
    training: tuple[NDArray[Any], NDArray[Any]] | None = None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> float | None:
    """Return the accuracy of logistic regression on features.

    Parameters
    ----------
    features : array, shape (N, ...), floating
    labels : array, shape (N,), integer
    training : features and labels, optional
        What it learns from. Without them it is cross-validated on the samples themselves, in three folds.
    samples : int
        At most so many are learnt from, drawn at random.
    seed : int

    Returns
    -------
    float or None
        None where there is too little to learn from: fewer than two classes, of each as many samples as folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, known = _usable(*(training or (features, labels)), samples, seed)
    classes, counts = np.unique(known, return_counts=True)
    enough = np.isin(known, classes[counts >= FOLDS])
    rows, known = rows[enough], known[enough]
    if (counts >= FOLDS).sum() < 2:
        return None
    # The penalty keeps wide features from being learnt by heart; 200 steps are enough to tell whether they know.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if training is not None:
            tested, truth = _usable(features, labels, len(labels), seed)
            return float(model.fit(rows, known).score(tested, truth)) if len(truth) else None
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        return float(cross_val_score(model, rows, known, cv=folds).mean())


def _usable(
    features: NDArray[Any], labels: NDArray[Any], samples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    rows = features.reshape(len(features), math.prod(features.shape[1:])).astype(np.float64)
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(kept) > samples:
        kept = np.sort(np.random.default_rng(seed).choice(kept, samples, replace=False))
    return rows[kept], labels[kept]
