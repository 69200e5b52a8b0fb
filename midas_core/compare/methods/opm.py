"""On-the-fly prediction modulation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.methods.dominance import lead, parted_logits, scores
from midas_core.compare.stack import Batch, Model

LAMBDA = 0.5
EXECUTE = 0.7
WARMUP_EPOCHS = 5


def drop_probabilities(ratio: Tensor, base: Tensor) -> Tensor:
    """Return q^m = q_base * (1 + lambda * tanh(rho^m - 1)) where rho^m > 1, else 0, in [0, 1], shape (M, K)."""
    leading = base * (1 + LAMBDA * torch.tanh(ratio - 1))
    return torch.where(ratio > 1, leading, 0.0).clamp(0, 1)


def drop_features(features: Sequence[Tensor], probabilities: Tensor, numbers: Tensor) -> list[Tensor]:
    """Return the features, some samples at zero, the rest scaled by 1 / (1 - theta).

    theta = sum_m D_m q^m / sum_m D_m is the share of the features that is expected to go.
    """
    widths = torch.tensor([x.shape[-1] for x in features], dtype=probabilities.dtype)
    gone = (widths[:, None] * probabilities).sum(dim=0) / widths.sum()
    kept = numbers >= probabilities.T[..., None]
    scale = 1 / (1 - gone)[:, None, None]
    return [x * kept[:, m, :, None] * scale for m, x in enumerate(features)]


class Opm(Method):
    """OPM: the leading modality is dropped in some of the samples.

    Wei et al., "On-the-fly Modulation for Balanced Multimodal Learning" (TPAMI 2024).
    q^m = q_base * (1 + lambda * tanh(rho^m - 1)) where rho^m > 1, else 0: the probability that a sample loses the
    feature of modality m; rho^m as in OGM-GE. What is left is scaled by 1 / (1 - theta), theta the share that is
    expected to go.
    """

    title = "OPM"
    strengths = (0.25, 0.5, 0.75)
    strength_name = "q_base"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        if batch.epoch < WARMUP_EPOCHS:
            return cross_entropy(model.fuse(features), batch.labels)
        with torch.no_grad():
            ratio = lead(scores(parted_logits(model, features), batch.labels))
            executed = self.random.uniform(1)[:, 0] < EXECUTE
            probabilities = drop_probabilities(ratio, self.strength) * executed
        numbers = self.random.uniform(len(features), batch.labels.shape[1])
        return cross_entropy(model.fuse(drop_features(features, probabilities, numbers)), batch.labels)
