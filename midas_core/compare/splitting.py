"""From the user's features to training, validation and test samples."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.compare.reading import FeatureSet
from midas_core.data.base import DataError, Split, Task, some_names, standardize

PARTS = 5
"""One of them is the test, one validates, three train."""
SMALL = 2000
"""Samples, or groups, below which several splits are made: which samples are tested decides more than the seed."""

Indices = NDArray[np.int64]


def count_splits(features: FeatureSet) -> int:
    """Return the number of test parts: one where folds say which, or where there are many samples."""
    return 1 if features.fold is not None or _units(features) >= SMALL else _parts(features)


def make_task(features: FeatureSet, seed: int) -> Task:
    """Split the samples: classes in equal shares, no group in two parts, 60 % to train, 20 % to validate, 20 % to test.

    Folds of the features are respected: 0 trains, 1 validates, 2 is the test; without a 1, a fifth of 0 validates.
    ``seed`` chooses the samples that validate, where there are few, and by its remainder the part that is tested.
    Columns are standardised by the training samples. The origin of a sample is its index in ``features``. Raises
    ``DataError`` where classes or groups are too small.

    Examples
    --------
    >>> from midas_core.compare.reading import make_features
    >>> x = np.random.default_rng(0).normal(size=(60, 2))
    >>> task = make_task(make_features({"audio": x, "text": -x}, ["no", "yes"] * 30), seed=0)
    >>> len(task.training), len(task.validation), len(task.test)
    (36, 12, 12)
    """
    # All seeds share one copy of large data: which part validates hardly matters there.
    large = len(features) >= SMALL and features.groups is None
    return _make_shared_task(features) if large else _make_task(features, seed)


def _make_task(features: FeatureSet, seed: int) -> Task:
    splits = [
        Split(tuple(x[part] for x in features.inputs.values()), features.labels[part], {"sample": part})
        for part in split_samples(features, seed)
    ]
    standardized = standardize(*splits, axis=0)
    for part in standardized:
        for x in part.inputs:
            np.nan_to_num(x, copy=False)
    return Task(features.modalities, len(features.class_names), *standardized)


@lru_cache(maxsize=1)
def _make_shared_task(features: FeatureSet) -> Task:
    return _make_task(features, 0)


def check_splits(features: FeatureSet) -> None:
    """Raise ``DataError`` where one of the splits cannot be made, before anything is trained."""
    for seed in range(count_splits(features)):
        split_samples(features, seed)


def split_samples(features: FeatureSet, seed: int) -> tuple[Indices, Indices, Indices]:
    """Return the indices of the training, validation and test samples; see `make_task`."""
    split = seed % count_splits(features)
    if features.fold is not None:
        training, validation, test = (np.flatnonzero(features.fold == i) for i in range(3))
        if not len(validation):
            training, validation = _take_validation(features, training, PARTS, seed)
    else:
        _check_sizes(features)
        rest, test = _take_part(features, np.arange(len(features)), _parts(features), split)
        training, validation = _take_validation(features, rest, _parts(features) - 1, seed)
    if absent := _absent_classes(features, training):
        raise DataError(
            f"labels: expected every class in the training samples of split {split}, got none of {some_names(absent)}"
        )
    return training, validation, test


def _take_validation(features: FeatureSet, samples: Indices, parts: int, seed: int) -> tuple[Indices, Indices]:
    """Return training and validation samples, one part after another until training has every class."""
    # Many samples: one part validates as well as another, and all seeds share their arrays.
    first = seed if len(features) < SMALL else 0
    for number in range(first, first + parts):
        training, validation = _take_part(features, samples, parts, number)
        if not _absent_classes(features, training):
            break
    return training, validation


def _absent_classes(features: FeatureSet, training: Indices) -> list[str]:
    return [features.class_names[i] for i in sorted({*range(len(features.class_names))} - {*features.labels[training]})]


def _take_part(features: FeatureSet, samples: Indices, parts: int, number: int) -> tuple[Indices, Indices]:
    """Return the other samples, then one of several parts, counted through repeated partitions."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    groups = None if features.groups is None else features.groups[samples]
    folds: Any = StratifiedKFold
    if groups is not None:
        folds, parts = StratifiedGroupKFold, min(parts, len(np.unique(groups)))
        if parts < 2:
            raise DataError("groups: expected two or more in fold 0, one to validate, got 1")
    labels = features.labels[samples]
    with warnings.catch_warnings():
        # Folds of the user may hold classes that are smaller than the number of parts.
        warnings.simplefilter("ignore", UserWarning)
        splits = list(folds(parts, shuffle=True, random_state=number // parts).split(samples, labels, groups))
    rest, part = splits[number % parts]
    return samples[rest], samples[part]


def _units(features: FeatureSet) -> int:
    return len(features) if features.groups is None else len(np.unique(features.groups))


def _parts(features: FeatureSet) -> int:
    return PARTS if features.groups is None else min(PARTS, _units(features))


def _check_sizes(features: FeatureSet) -> None:
    """Refuse classes and groups that cannot be in training, validation and test."""
    what, least, sizes = "samples", PARTS, np.bincount(features.labels)
    if features.groups is not None:
        if _units(features) < 3:
            raise DataError(f"groups: expected three or more, to train, validate and test, got {_units(features)}")
        pairs = np.unique(np.stack([features.labels, features.groups]), axis=1)
        what, least, sizes = "groups", 3, np.bincount(pairs[0])
    small = int(sizes.argmin())
    if sizes[small] < least:
        few = int((sizes < least).sum())
        raise DataError(
            f"labels: expected {least} {what} or more of every class, to train, validate and test, got {sizes[small]} "
            f"of class {features.class_names[small]}"
            + (f", and too few of {few - 1} other classes" if few > 1 else "")
            + ": leave such classes out, or put them together"
        )
