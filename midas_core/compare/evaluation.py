"""Measures of one trained model on one split."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from midas_core import ensemble_logits
from midas_core.compare.methods.base import Method
from midas_core.compare.stack import Model
from midas_core.data import Split
from midas_core.diagnostics import calibration_error, diagnose, reliability_bins

ROUNDS = 4
"""Partners of each sample, for the accuracy on misaligned samples."""


@torch.no_grad()
def evaluate(method: Method, model: Model, split: Split, modalities: tuple[str, ...]) -> dict[str, Any]:
    """Return the measures of one model."""
    features, labels = _features(model, split), torch.from_numpy(split.labels)
    logits = method.logits(model, features)[0]
    scores: dict[str, Any] = _scores(logits, labels)
    if method.title.endswith(" alone"):
        return scores

    def head(joined: Tensor) -> Tensor:
        return method.logits(model, joined[None].split(model.feature_dims, dim=2))[0]

    diagnosis = diagnose(
        head,
        [x[0] for x in features],
        labels,
        num_classes=model.num_classes,
        modalities=modalities,
        rounds=ROUNDS,
        probe=False,
    )
    scores["diagnosis"] = diagnosis.to_dict()
    scores["misaligned accuracy"] = diagnosis.misaligned_accuracy
    scores["alone"] = {m.name: m.accuracy_alone for m in diagnosis.modalities}
    scores["without"] = {m.name: m.accuracy_without for m in diagnosis.modalities}
    if method.trains_unimodal_heads:
        vote = ensemble_logits(logits, [z[0] for z in model.unimodal(features)])
        scores["vote"] = float((vote.argmax(dim=1) == labels).double().mean())
    return scores


@torch.no_grad()
def accuracy(method: Method, model: Model, split: Split) -> float:
    """Return the accuracy of one model."""
    predicted = method.logits(model, _features(model, split))[0].argmax(dim=1)
    return float((predicted.numpy() == split.labels).mean())


def _features(model: Model, split: Split) -> list[Tensor]:
    return model.features([torch.from_numpy(x)[None] for x in split.inputs])


def _scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    from sklearn.metrics import f1_score, recall_score

    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    correct = (predicted == labels).numpy()
    return {
        "accuracy": float(correct.mean()),
        "recall": float(recall_score(labels, predicted, labels=labels.unique(), average="macro")),
        "macro-F1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "calibration error": calibration_error(reliability_bins(confidence.numpy(), correct)),
    }
