"""Who trains, who validates, who tests: 70, 10 and 20 percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.datasets.base import DataError, Listing, Sample

SHARES = (0.7, 0.1, 0.2)
"""Of training, validation and test, as in the paper."""


class Splits(NamedTuple):
    """The samples of each split."""

    training: list[Sample]
    validation: list[Sample]
    test: list[Sample]


def split(listing: Listing, how: str, seed: int) -> Splits:
    """Split the samples, the classes in equal shares where that is possible.

    The test samples are the same for every seed.

    Parameters
    ----------
    listing : Listing
    how : {"paper", "leak-free"}
        "paper" draws single samples, "leak-free" whole groups: no actor, scene or image in two splits. The shares are
        then shares of the groups.
    seed : int
        Chooses the training and validation samples.

    Returns
    -------
    Splits

    Raises
    ------
    DataError
        If a class is missing in one of the splits: there are too few samples, or too few groups.
    """
    samples = listing.samples
    names = [sample.name if how == "paper" else sample.group for sample in samples]
    labels: dict[str, set[int]] = {}
    for name, sample in zip(names, samples, strict=True):
        labels.setdefault(name, set()).add(sample.label)
    groups = sorted(labels)
    # Groups of one class each, scenes or single samples, can be drawn in equal shares.
    classes = [min(labels[name]) for name in groups] if all(len(x) == 1 for x in labels.values()) else None
    chosen = _draw(groups, classes, seed)
    parts = [[sample for name, sample in zip(names, samples, strict=True) if name in part] for part in map(set, chosen)]
    _check(listing, how, parts)
    return Splits(*parts)


def _draw(groups: list[str], classes: list[int] | None, seed: int) -> list[list[str]]:
    """Return three lists of groups, class by class where each group has one."""
    kinds = np.zeros(len(groups), dtype=int) if classes is None else np.array(classes)
    parts: list[list[str]] = [[], [], []]
    for kind in np.unique(kinds):
        of_kind = np.random.default_rng([0, kind]).permutation(np.flatnonzero(kinds == kind))
        test = round(SHARES[2] * len(of_kind))
        rest = np.random.default_rng([1, seed, kind]).permutation(of_kind[test:])
        validation = max(1, round(SHARES[1] * len(of_kind)))
        for part, places in zip(parts, (rest[validation:], rest[:validation], of_kind[:test]), strict=True):
            part += [groups[place] for place in places]
    return parts


def _check(listing: Listing, how: str, parts: Sequence[list[Sample]]) -> None:
    for label, name in enumerate(listing.classes):
        counts = [sum(sample.label == label for sample in part) for part in parts]
        if not all(counts):
            groups = len({sample.group for sample in listing.samples if sample.label == label})
            raise DataError(
                f"class {name}: expected samples for training, validation and test in the {how} split, got "
                f"{', '.join(map(str, counts))} of {sum(counts)} samples in {groups} groups: too few"
            )
