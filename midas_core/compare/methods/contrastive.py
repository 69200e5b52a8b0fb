"""Contrastive losses between modalities, for the methods that add one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from midas_core.compare.methods.base import cross_entropy


def unit_features(features: Sequence[Tensor]) -> list[Tensor]:
    """Return the features at length 1; raise ``ValueError`` where they differ in width and cannot be compared."""
    widths = {x.shape[-1] for x in features}
    if len(widths) > 1:
        raise ValueError(f"features: expected one width for all modalities, got {sorted(widths)}")
    return [torch.nn.functional.normalize(x, dim=-1) for x in features]


def matching_loss(features: Sequence[Tensor], temperature: float) -> Tensor:
    """Return the InfoNCE loss between each two modalities, both directions, the mean of all, shape (K,).

    The other modality of the same sample is the positive, the rest of the batch the negatives.
    """
    units = unit_features(features)
    positives = torch.arange(units[0].shape[1]).expand(units[0].shape[:2])
    losses = []
    for left, right in combinations(units, 2):
        cosines = left @ right.mT / temperature
        losses += [cross_entropy(cosines, positives), cross_entropy(cosines.mT.contiguous(), positives)]
    return torch.stack(losses).mean(dim=0)


def supervised_contrastive_loss(features: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss over the features of all modalities, shape (K,).

    Khosla et al. (NeurIPS 2020), eq. 2: whatever has the class of a feature, of any modality, is its positive, all else
    in the batch its contrast.
    """
    units = torch.cat(unit_features(features), dim=1)
    classes = labels.repeat(1, len(features))
    itself = torch.eye(classes.shape[1], dtype=torch.bool)
    alike = (units @ units.mT / temperature).masked_fill(itself, float("-inf"))
    log_share = alike.log_softmax(dim=-1).masked_fill(itself, 0.0)
    positive = (classes[:, :, None] == classes[:, None, :]) & ~itself
    # The other modality of the same sample is always a positive.
    return -((log_share * positive).sum(dim=-1) / positive.sum(dim=-1)).mean(dim=1)
