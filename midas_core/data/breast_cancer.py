"""Three groups of features of scikit-learn's breast cancer data: a task in which nothing is imbalanced."""

from __future__ import annotations

import numpy as np

from midas_core.data.base import Split, Task, split_indices, standardize


def breast_cancer(seed: int, *, training: int = 250) -> Task:
    """Return the mean, the standard error and the worst value of ten measurements: three modalities, two classes.

    ``seed`` chooses the training and validation samples; the test samples are always the same.
    """
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    features, labels = data.data.astype(np.float32), data.target.astype(np.int64)
    splits = [
        Split(tuple(features[chosen, i : i + 10] for i in (0, 10, 20)), labels[chosen], {"sample": chosen})
        for chosen in split_indices(labels, (training, 119, 200), seed)
    ]
    # Areas and smoothness differ by a factor of thousands: one scale for each column.
    return Task(("mean", "error", "worst"), 2, *standardize(*splits, axis=0))
