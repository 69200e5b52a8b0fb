"""What one trained model is judged by, on one split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.methods.base import Method, Model
from midas_core import ensemble_logits
from midas_core.data import Split
from midas_core.diagnostics import calibration_error, diagnose, reliability_bins

ROUNDS = 4
"""Partners of each sample, for the accuracy on misaligned samples."""
VOTE_WEIGHTS = tuple(i / 10 for i in range(11))
"""Of the vote at prediction, tried on validation data."""


def features_of(model: Model, split: Split) -> list[Tensor]:
    """Return the features of a split, M of (1, N, D_m), of a stack of one."""
    with torch.no_grad():
        return model.features([torch.from_numpy(view)[None] for view in split.inputs])


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy, calibration error and cross-entropy of logits (N, C)."""
    from sklearn.metrics import log_loss

    probabilities = logits.double().softmax(dim=1).numpy()
    correct = probabilities.argmax(axis=1) == labels.numpy()
    return {
        "accuracy": float(correct.mean()),
        "calibration error": calibration_error(reliability_bins(probabilities.max(axis=1), correct)),
        "cross-entropy": float(log_loss(labels.numpy(), probabilities, labels=np.arange(logits.shape[1]))),
    }


def evaluate(method: Method, model: Model, split: Split, modalities: Sequence[str]) -> dict[str, Any]:
    """Return the measures of one model of a stack.

    Parameters
    ----------
    method : Method
        What predicts.
    model : Model
        A stack of one.
    split : Split
    modalities : sequence of M names

    Returns
    -------
    dict
        Shares in 0 ... 1; ``alone`` by modality, the features of the others set to zero.
    """
    features, labels = features_of(model, split), torch.from_numpy(split.labels)

    def head(joined: Tensor) -> Tensor:
        parts = joined[None].split(model.feature_dims, dim=2)
        return method.logits(model, parts)[0]

    found = diagnose(
        head,
        [x[0] for x in features],
        labels,
        num_classes=model.num_classes,
        modalities=modalities,
        rounds=ROUNDS,
        probe=False,
    )
    with torch.no_grad():
        own = scores(method.logits(model, features)[0], labels)
    return {
        **own,
        "macro-F1": found.macro_f1,
        "misaligned accuracy": found.misaligned_accuracy,
        "alone": {each.name: each.accuracy_alone for each in found.modalities},
    }


def vote_logits(method: Method, model: Model, split: Split) -> tuple[Tensor, list[Tensor]]:
    """Return the logits of the fused head and of the unimodal heads, (N, C) each."""
    features = features_of(model, split)
    with torch.no_grad():
        return method.logits(model, features)[0], [z[0] for z in model.unimodal(features)]


def vote_weight(method: Method, model: Model, validation: Split) -> float:
    """Return the weight of the unimodal heads with the best accuracy on validation data.

    Of equal ones the one with the lower cross-entropy.
    """
    fused, unimodal = vote_logits(method, model, validation)
    labels = torch.from_numpy(validation.labels)

    def quality(weight: float) -> tuple[float, float]:
        found = scores(ensemble_logits(fused, unimodal, weight=weight), labels)
        return found["accuracy"], -found["cross-entropy"]

    return max(VOTE_WEIGHTS, key=quality)


def evaluate_vote(method: Method, model: Model, split: Split, validation: Split, modalities: Sequence[str]) -> Any:
    """Return what the vote of fused and unimodal heads gives.

    Returns
    -------
    dict
        "half": with weight 0.5. "chosen": with the weight chosen on validation data. "alone": accuracy of the vote with
        one modality there, by modality, as ``present`` tells it.
    """
    fused, unimodal = vote_logits(method, model, split)
    labels = torch.from_numpy(split.labels)
    weight = vote_weight(method, model, validation)
    alone = {}
    for m, name in enumerate(modalities):
        present = torch.zeros(len(labels), len(unimodal), dtype=torch.bool)
        present[:, m] = True
        logits = ensemble_logits(_fused_alone(method, model, split, m), unimodal, present=present)
        alone[name] = scores(logits, labels)["accuracy"]
    return {
        "half": scores(ensemble_logits(fused, unimodal), labels),
        "chosen": {"weight": weight, **scores(ensemble_logits(fused, unimodal, weight=weight), labels)},
        "alone": alone,
    }


def _fused_alone(method: Method, model: Model, split: Split, m: int) -> Tensor:
    kept = [x if k == m else torch.zeros_like(x) for k, x in enumerate(features_of(model, split))]
    with torch.no_grad():
        return method.logits(model, kept)[0]


def last_quarter(accuracy: Sequence[float]) -> float:
    """Return how much the mean of the last quarter of the points is above that of the quarter before, NaN for few."""
    size = len(accuracy) // 4
    if not size:
        return math.nan
    return float(np.mean(accuracy[-size:]) - np.mean(accuracy[-2 * size : -size]))
