"""A classification task: modalities, labels, three splits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

ROUNDING = 1e-6
"""Standard deviation, relative to the largest value, up to which a column counts as constant."""
FARTHEST = 10.0
"""Standard deviations from the mean, beyond which values are cut off."""


class DataError(ValueError):
    """A data set is missing, damaged or unfit; the message names the expected and the actual content."""


def some_names(names: Sequence[str]) -> str:
    """Return the first of the names and how many more there are, for a message.

    Examples
    --------
    >>> some_names(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class Split:
    """The samples of one split; ``origin``, such as image and speaker, must not occur in two of them."""

    inputs: tuple[Floats, ...]  # M of (N, D_m)
    labels: Labels  # (N,)
    origin: dict[str, NDArray[Any]] = field(default_factory=dict)  # by kind, (N,)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A classification task with M modalities, split for one seed."""

    modalities: tuple[str, ...]
    num_classes: int
    training: Split
    validation: Split
    test: Split

    @property
    def constant_columns(self) -> dict[str, NDArray[np.int64]]:
        """By modality, the columns that do not vary in the standardised training data, where there are any."""
        constant = {
            name: np.flatnonzero(~x.any(axis=0)) for name, x in zip(self.modalities, self.training.inputs, strict=True)
        }
        return {name: columns for name, columns in constant.items() if len(columns)}


def standardize(training: Split, *others: Split, axis: int | None = None) -> tuple[Split, ...]:
    """Subtract the mean and divide by the standard deviation of the training data, for each modality.

    A column without spread in the training data becomes zero in every split: divided by next to nothing, it would
    explode in the others. So would one that hardly varies: what lies beyond ten standard deviations is cut off there.
    NaN takes no part, and stays.

    ``axis`` None takes one mean and one standard deviation for the whole modality, 0 one for each column.

    Examples
    --------
    >>> split = Split((np.array([[1.0, 3.0]], dtype=np.float32),), np.array([0]))
    >>> standardize(split)[0].inputs[0].tolist()
    [[-1.0, 1.0]]
    """
    moments = [_moments(x, axis) for x in training.inputs]
    return tuple(
        Split(
            tuple(
                np.clip((x - mean) / deviation, -FARTHEST, FARTHEST)
                for x, (mean, deviation) in zip(split.inputs, moments, strict=True)
            ),
            split.labels,
            split.origin,
        )
        for split in (training, *others)
    )


def _moments(x: Floats, axis: int | None) -> tuple[Floats, Floats]:
    """Return mean and standard deviation, infinite where there is no spread beyond the rounding of float32."""
    with warnings.catch_warnings():
        # A column may hold nothing but missing values.
        warnings.simplefilter("ignore", RuntimeWarning)
        deviation = np.nanstd(x, axis, dtype=np.float64)
        varies = deviation > ROUNDING * np.nanmax(np.abs(x), axis)
        mean = np.nanmean(x, axis, dtype=np.float64)
    return np.asarray(mean, np.float32), np.where(varies, deviation, np.inf).astype(np.float32)


def split_indices(
    labels: Labels, counts: tuple[int, int, int], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training, validation and test samples, with the classes in equal shares.

    The test samples are the same for every seed, so that nothing chosen on the validation data of one seed has seen
    the test data of another.
    """
    from sklearn.model_selection import train_test_split

    training, validation, test = counts
    everything = np.arange(len(labels))
    rest, held_out = train_test_split(everything, test_size=test, random_state=0, stratify=labels)
    chosen, validating = train_test_split(
        rest, train_size=training, test_size=validation, random_state=seed, stratify=labels[rest]
    )
    return chosen, validating, held_out
