"""What every data set comes down to: modalities, labels, three splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class DataError(ValueError):
    """A data set is missing or damaged. The message says what was looked for and what was found."""


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
    """The samples of one split.

    Attributes
    ----------
    views : tuple of M arrays, shapes (N, D_m), float32
        One for each modality.
    labels : array, shape (N,), int64
    origin : dict of arrays, shape (N,)
        Where each sample comes from, by kind ("image", "speaker", ...): what must not occur in two splits.
    """

    views: tuple[Floats, ...]
    labels: Labels
    origin: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A classification task with M modalities, split for one seed.

    Attributes
    ----------
    modalities : tuple of M names
    num_classes : int
    training, validation, test : Split
    """

    modalities: tuple[str, ...]
    num_classes: int
    training: Split
    validation: Split
    test: Split


def scale(training: Split, *others: Split, axis: int | None = None) -> tuple[Split, ...]:
    """Shift and scale each modality by the mean and the spread of the training data.

    Parameters
    ----------
    training : Split
    *others : Split
        Scaled by the numbers of ``training``.
    axis : int, optional
        None takes one mean and one spread for the whole modality, 0 one for each column.

    Returns
    -------
    tuple of Split
        In the order given.

    Examples
    --------
    >>> split = Split((np.array([[1.0, 3.0]], dtype=np.float32),), np.array([0]))
    >>> scale(split)[0].views[0].tolist()
    [[-1.0, 1.0]]
    """
    numbers = [(view.mean(axis), np.maximum(view.std(axis), 1e-12)) for view in training.views]
    return tuple(
        Split(
            tuple(
                ((view - mean) / spread).astype(np.float32)
                for view, (mean, spread) in zip(split.views, numbers, strict=True)
            ),
            split.labels,
            split.origin,
        )
        for split in (training, *others)
    )


def split_indices(
    labels: Labels, counts: tuple[int, int, int], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training, validation and test samples, with the classes in equal shares.

    The test samples are the same for every seed, so that nothing chosen on the validation data of one seed has seen
    the test data of another.

    Parameters
    ----------
    labels : array, shape (N,), integer
    counts : tuple of three int
        Training, validation and test samples.
    seed : int
        Chooses the training and validation samples.

    Returns
    -------
    tuple of three arrays of int
    """
    from sklearn.model_selection import train_test_split

    training, validation, test = counts
    everything = np.arange(len(labels))
    rest, held_out = train_test_split(everything, test_size=test, random_state=0, stratify=labels)
    chosen, validating = train_test_split(
        rest, train_size=training, test_size=validation, random_state=seed, stratify=labels[rest]
    )
    return chosen, validating, held_out
