"""What a frozen feature still knows: a linear classifier on it, cross-validated."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 3


def probe_accuracy(features: NDArray[Any], labels: NDArray[Any], *, samples: int = 2000, seed: int = 0) -> float | None:
    """Return the accuracy of logistic regression on features, cross-validated in three folds.

    Parameters
    ----------
    features : array, shape (N, ...), floating
    labels : array, shape (N,), integer
    samples : int
        At most so many are used, drawn at random.
    seed : int

    Returns
    -------
    float or None
        None where there are fewer than two classes of which each fold can have a sample.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = features.reshape(len(features), -1).astype(np.float64)
    kept = np.flatnonzero(np.isfinite(rows).all(axis=1))
    if len(kept) > samples:
        kept = np.sort(np.random.default_rng(seed).choice(kept, samples, replace=False))
    classes, counts = np.unique(labels[kept], return_counts=True)
    kept = kept[np.isin(labels[kept], classes[counts >= FOLDS])]
    if (counts >= FOLDS).sum() < 2:
        return None
    # The penalty of 0.1 keeps wide features from being learnt by heart; 200 steps are enough to tell whether they know.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(model, rows[kept], labels[kept], cv=folds).mean())
