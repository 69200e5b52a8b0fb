"""What a trained model is judged by: its diagnosis, or, of a single modality, accuracy and F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas_core.data import Split, Task
from midas_core.diagnostics import Diagnosis, diagnose

ROUNDS = 8
"""Partners for each test sample."""


class Scores(NamedTuple):
    """What a trained model is judged by, each a share in 0 ... 1.

    Attributes
    ----------
    accuracy, macro_f1 : float
        On aligned samples.
    misaligned_accuracy : float or None
        See `midas_core.diagnostics.misaligned_accuracy`. None for two classes, where it is always 1, and for a single
        modality.
    accuracy_alone : tuple of M floats
        Accuracy with the features of all other modalities set to zero. Empty for a single modality.
    """

    accuracy: float
    macro_f1: float
    misaligned_accuracy: float | None
    accuracy_alone: tuple[float, ...]

    @staticmethod
    def of(found: Diagnosis) -> Scores:
        """Return the scores that a diagnosis holds."""
        alone = tuple(each.accuracy_alone for each in found.modalities)
        return Scores(found.accuracy, found.macro_f1, found.misaligned_accuracy, alone)


def encode(model: Any, split: Split) -> tuple[list[Tensor], Tensor]:
    """Return the features of a split, without gradients, and its labels."""
    with torch.no_grad():
        return model.encode([torch.from_numpy(view) for view in split.inputs]), torch.from_numpy(split.labels)


def predict(model: Any, features: Sequence[Tensor]) -> Tensor:
    """Return the predicted classes of aligned samples, shape (B,)."""
    with torch.no_grad():
        return model.head(torch.cat(list(features), dim=1)).argmax(dim=1)


def diagnose_model(model: Any, task: Task, *, split: str = "test", probe: bool = False) -> Diagnosis:
    """Return how a trained model uses its modalities.

    Parameters
    ----------
    model : object
        With ``encode`` and ``head``, and perhaps ``unimodal_heads``.
    task : Task
    split : {"test", "validation"}
        What it is measured on.
    probe : bool
        Whether to train linear probes, on the features of the training data.

    Returns
    -------
    Diagnosis
    """
    return diagnose(
        model.head,
        *encode(model, getattr(task, split)),
        training=encode(model, task.training) if probe else None,
        num_classes=task.num_classes,
        modalities=task.modalities,
        unimodal_heads=getattr(model, "unimodal_heads", None),
        rounds=ROUNDS,
        probe=probe,
    )


def score_aligned(model: Any, split: Split) -> Scores:
    """Return accuracy and F1 alone: all there is of a model of one modality.

    Parameters
    ----------
    model : object
        With ``encode`` and ``head``.
    split : Split
        With the one modality.

    Returns
    -------
    Scores
    """
    from sklearn.metrics import accuracy_score, f1_score

    features, labels = encode(model, split)
    predicted = predict(model, features)
    f1 = f1_score(labels, predicted, average="macro", zero_division=0)
    return Scores(float(accuracy_score(labels, predicted)), float(f1), None, ())
