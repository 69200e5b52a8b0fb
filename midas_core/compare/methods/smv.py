"""Sample-level modality valuation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method
from midas_core.compare.stack import Batch, Model

WARMUP_EPOCHS = 5


def shapley_values(contributions: Sequence[Tensor], bias: Tensor, labels: Tensor) -> Tensor:
    """Return the Shapley value of each modality of each sample, shape (M, K, B).

    The worth of a set of modalities is their number where the fused head is right with them alone, else 0: an even
    share of a right prediction is worth 1.
    """
    count = len(contributions)
    worth = {frozenset[int](): torch.zeros(labels.shape)}
    for size in range(1, count + 1):
        for members in combinations(range(count), size):
            logits = bias + torch.stack([contributions[m] for m in members]).sum(dim=0)
            worth[frozenset(members)] = size * (logits.argmax(dim=-1) == labels).float()
    values = []
    for m in range(count):
        without = [members for members in worth if m not in members]
        shares = [factorial(len(s)) * factorial(count - len(s) - 1) / factorial(count) for s in without]
        gains = [share * (worth[s | {m}] - worth[s]) for share, s in zip(shares, without, strict=True)]
        values.append(torch.stack(gains).sum(dim=0))
    return torch.stack(values)


class Smv(Method):
    """SMV: samples in which a modality contributes less than its share are trained again with that modality alone.

    Wei et al., "Enhancing Multimodal Cooperation via Sample-level Modality Valuation" (CVPR 2024).
    phi_i^m, the Shapley value of modality m in sample i, with v(C) = |C| where the set C predicts right, else 0; where
    phi_i^m < 1, the sample comes again s * (1 - phi_i^m) times with the other modalities absent. The repetitions are
    weights in the mean over the batch.
    """

    title = "SMV"
    strengths = (1.0, 2.0, 4.0)
    strength_name = "s"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        whole = _sample_losses(model.fuse(features), batch.labels)
        if batch.epoch < WARMUP_EPOCHS:
            return whole.mean(dim=1)
        contributions = model.contributions(features)
        with torch.no_grad():
            values = shapley_values(contributions, model.head.bias, batch.labels)
            repeats = self.strength[:, None] * (1 - values).clamp_min(0)
        again = torch.stack([_sample_losses(part + model.head.bias, batch.labels) for part in contributions])
        total = whole.sum(dim=1) + (repeats * again).sum(dim=(0, 2))
        return total / (whole.shape[1] + repeats.sum(dim=(0, 2)))


def _sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.log_softmax(dim=-1).gather(2, labels[..., None])[..., 0]
