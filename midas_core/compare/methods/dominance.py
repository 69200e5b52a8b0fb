"""Which modality leads in a batch: what several methods measure to hold it back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from midas_core.compare.stack import Model


def parted_logits(model: Model, features: Sequence[Tensor]) -> list[Tensor]:
    """Return what the fused head says of each modality, W^m f^m + b / M, M of (K, B, C); their sum are the logits."""
    share = model.head.bias / len(features)
    return [part + share for part in model.contributions(features)]


def scores(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the sum over the batch of the probability of the own class, shape (M, K)."""
    taken = [x.softmax(dim=-1).gather(2, labels[..., None]).sum(dim=(1, 2)) for x in logits]
    return torch.stack(taken)


def lead(scores: Tensor) -> Tensor:
    """Return rho^m = s^m / (mean of the other scores), shape (M, K): above 1 the modality leads.

    The papers that use it have two modalities, where the mean of the others is the other.
    """
    others = (scores.sum(dim=0) - scores) / (len(scores) - 1)
    return scores / others
