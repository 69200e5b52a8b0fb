"""What is measured: on aligned samples, on misaligned pairs, and on one modality at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas_core.data import Split, Task
from midas_core.demo.models import Model
from midas_core.diagnostics import Diagnosis, diagnose
from midas_core.diagnostics.pairs import Pairs, misaligned_accuracy, misaligned_pairs


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


def mixed_logits(model: Model, features: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return the fused logits of the misaligned samples, shape (P, C)."""
    sources = torch.from_numpy(pairs.sources)
    mixed = [feature[rows] for feature, rows in zip(features, sources, strict=True)]
    return model.head(torch.cat(mixed, dim=1))


def zeroed(features: Sequence[Tensor], keep: int) -> Tensor:
    """Return the concatenated features with all but modality ``keep`` set to zero."""
    parts = [x if m == keep else torch.zeros_like(x) for m, x in enumerate(features)]
    return torch.cat(parts, dim=1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose class has the highest logit."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def diagnosis(model: Any, task: Task) -> Diagnosis:
    """Return how a trained model uses its modalities, on the test data.

    Parameters
    ----------
    model : object
        With ``encode``, ``head`` and ``unimodal_heads``.
    task : Task

    Returns
    -------
    Diagnosis
    """

    def encoded(split: Split) -> tuple[list[Tensor], Tensor]:
        with torch.no_grad():
            return model.encode([torch.from_numpy(view) for view in split.views]), torch.from_numpy(split.labels)

    return diagnose(
        model.head,
        *encoded(task.test),
        training=encoded(task.training),
        num_classes=task.num_classes,
        modalities=task.modalities,
        unimodal_heads=model.unimodal_heads,
        rounds=8,  # the pairs of `score`
    )


def score(model: Model, split: Split, num_classes: int) -> Scores:
    """Measure a trained model.

    Parameters
    ----------
    model : Model
    split : Split
        With the views that the model was trained on.
    num_classes : int

    Returns
    -------
    Scores
    """
    from sklearn.metrics import f1_score

    labels = torch.from_numpy(split.labels)
    with torch.no_grad():
        features = model.encode([torch.from_numpy(view) for view in split.views])
        logits = model.head(torch.cat(features, dim=1))
        count = len(features)
        misaligned = None
        if count > 1 and num_classes > 2:
            pairs = misaligned_pairs(split.labels, num_classes, count)
            misaligned = misaligned_accuracy(mixed_logits(model, features, pairs).numpy(), pairs.classes)
        alone = tuple(accuracy(model.head(zeroed(features, m)), labels) for m in range(count if count > 1 else 0))
    return Scores(
        accuracy(logits, labels),
        float(f1_score(split.labels, logits.argmax(dim=1).numpy(), average="macro")),
        misaligned,
        alone,
    )
