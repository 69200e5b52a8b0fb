"""Training, validation and test samples: 70, 10 and 20 percent."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from benchmarks.paper.listing import DataError, Listing, Sample

TENTHS, TEST = 10, 2
"""Parts of equal size: two are the test, one validates."""


class Splits(NamedTuple):
    """The samples of each split."""

    training: list[Sample]
    validation: list[Sample]
    test: list[Sample]


def split(listing: Listing, kind: str, seed: int) -> Splits:
    """Split the samples, the classes in equal shares where that is possible."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = np.array([sample.label for sample in listing.samples])
    groups = np.unique([sample.group for sample in listing.samples], return_inverse=True)[1]
    largest = int(np.bincount(labels).max())
    count = min(TENTHS, largest if kind == "paper" else min(largest, len(np.unique(groups))))
    if count < 3:
        raise DataError(f"samples: expected three or more of a class for the {kind} split, or groups, got {count}")
    folds = (StratifiedKFold if kind == "paper" else StratifiedGroupKFold)(count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # Small classes are told of below.
        warnings.simplefilter("ignore", UserWarning)
        parts = [part for _, part in folds.split(labels, labels, groups)]
    tests = max(1, round(len(parts) * TEST / TENTHS))
    validation = tests + seed % (len(parts) - tests)
    rest = [part for i, part in enumerate(parts) if i >= tests and i != validation]
    chosen = [np.concatenate(rest), parts[validation], np.concatenate(parts[:tests])]
    for label, name in enumerate(listing.classes):
        counts = [int((labels[part] == label).sum()) for part in chosen]
        if not all(counts):
            raise DataError(
                f"class {name}: expected samples for training, validation and test in the {kind} split, got "
                f"{', '.join(map(str, counts))} of {sum(counts)} samples in "
                f"{len(np.unique(groups[labels == label]))} groups: too few"
            )
    return Splits(*([listing.samples[i] for i in np.sort(part)] for part in chosen))
