"""What is measured: on aligned samples, on misaligned pairs, and on one modality at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from midas_core.confidence import log_confidence, normalized_confidence
from midas_core.data import Split
from midas_core.demo.models import Model
from midas_core.misalignment import draw, draw_sources, pair_classes, pair_mask


class Scores(NamedTuple):
    """What a trained model is judged by, each a share in 0 ... 1.

    Attributes
    ----------
    accuracy, macro_f1 : float
        On aligned samples.
    misaligned_accuracy : float or None
        See `misaligned_accuracy`. None for two classes, where it is always 1, and for a single modality.
    accuracy_alone : tuple of M floats
        Accuracy with the features of all other modalities set to zero. Empty for a single modality.
    """

    accuracy: float
    macro_f1: float
    misaligned_accuracy: float | None
    accuracy_alone: tuple[float, ...]


class Pairs(NamedTuple):
    """Misaligned samples of a split.

    Attributes
    ----------
    sources : Tensor, shape (M, P), int64
        Which sample supplies each modality.
    classes : Tensor, shape (M, P), int64
        Which class each modality speaks for; not all equal in any column.
    """

    sources: Tensor
    classes: Tensor


def misaligned_pairs(labels: Tensor, num_classes: int, num_modalities: int, *, rounds: int = 8, seed: int = 0) -> Pairs:
    """Give each sample partners of another class, in every direction, ``rounds`` times.

    Parameters
    ----------
    labels : Tensor, shape (N,), integer
    num_classes, num_modalities : int
        C and M.
    rounds : int
        Partners drawn for each sample.
    seed : int
        Of the draw, so that every method sees the same pairs.

    Returns
    -------
    Pairs
        P = 2 * rounds * N where every sample finds a partner.
    """
    rng = np.random.default_rng(seed)
    columns, classes = [], []
    given = labels.numpy()
    for _ in range(rounds):
        numbers = draw(given, num_classes, num_modalities, rng)
        sources = draw_sources(numbers, given, num_modalities)
        spoken = pair_classes(given, sources)
        mask = pair_mask(spoken)
        columns.append(sources[:, mask])
        classes.append(spoken[:, mask])
    return Pairs(
        torch.from_numpy(np.concatenate(columns, axis=1)),
        torch.from_numpy(np.concatenate(classes, axis=1)),
    )


def mixed_logits(model: Model, features: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return the fused logits of the misaligned samples, shape (P, C)."""
    mixed = [feature[rows] for feature, rows in zip(features, pairs.sources, strict=True)]
    return model.head(torch.cat(mixed, dim=1))


def misaligned_accuracy(logits: Tensor, classes: Tensor) -> float:
    """Return the share of misaligned samples whose true classes are all among the top M predictions.

    Parameters
    ----------
    logits : Tensor, shape (P, C)
    classes : Tensor, shape (M, P), integer

    Returns
    -------
    float

    Examples
    --------
    >>> logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> misaligned_accuracy(logits, torch.tensor([[1, 0], [0, 2]]))
    0.5
    """
    top = logits.topk(min(len(classes), logits.shape[1]), dim=1).indices  # (P, M)
    found = (classes.T[:, :, None] == top[:, None, :]).any(dim=2).all(dim=1)
    return found.double().mean().item()


def zeroed(features: Sequence[Tensor], keep: int) -> Tensor:
    """Return the concatenated features with all but modality ``keep`` set to zero."""
    parts = [x if m == keep else torch.zeros_like(x) for m, x in enumerate(features)]
    return torch.cat(parts, dim=1)


def unimodal_shares(log_probabilities: Sequence[Tensor], pairs: Pairs) -> list[float]:
    """Return the mean normalised confidence of the unimodal heads on misaligned samples (mean of c~, eq. 2).

    Parameters
    ----------
    log_probabilities : sequence of M tensors, shape (N,)
        Of each unimodal head, at the true class.
    pairs : Pairs

    Returns
    -------
    list of M floats
        They sum to 1.
    """
    picked = [x[rows] for x, rows in zip(log_probabilities, pairs.sources, strict=True)]
    return _mean_shares(torch.stack(picked))


def fused_shares(logits: Tensor, pairs: Pairs) -> list[float]:
    """Return the mean share of each modality in the confidence of the fused head (mean of q, eq. 5).

    Parameters
    ----------
    logits : Tensor, shape (P, C)
        Of the misaligned samples.
    pairs : Pairs

    Returns
    -------
    list of M floats
        They sum to 1.
    """
    return _mean_shares(torch.stack([log_confidence(logits, spoken) for spoken in pairs.classes]))


def _mean_shares(log_confidences: Tensor) -> list[float]:
    shares: list[float] = normalized_confidence(log_confidences).double().mean(dim=1).tolist()
    return shares


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose class has the highest logit."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


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
            pairs = misaligned_pairs(labels, num_classes, count)
            misaligned = misaligned_accuracy(mixed_logits(model, features, pairs), pairs.classes)
        alone = tuple(accuracy(model.head(zeroed(features, m)), labels) for m in range(count if count > 1 else 0))
    return Scores(
        accuracy(logits, labels),
        float(f1_score(split.labels, logits.argmax(dim=1).numpy(), average="macro")),
        misaligned,
        alone,
    )
