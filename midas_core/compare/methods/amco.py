"""Adaptive mask co-optimization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, add_unimodal, cross_entropy
from midas_core.compare.methods.dominance import parted_logits
from midas_core.compare.stack import Batch, Model

GROWTH = 0.1
FULL = 0.3
LARGEST_SCALE = 10.0


def dependence(logits: Sequence[Tensor]) -> Tensor:
    """Return the share of each modality in one softmax over the logits of all of them, mean over the batch, (M, K)."""
    shares = torch.cat(list(logits), dim=-1).softmax(dim=-1).unflatten(-1, (len(logits), -1)).sum(dim=-1)
    return shares.mean(dim=1).T


def mask_share(epoch: int) -> float:
    """Return p_t = sin(pi / 2 * min(eps, l_t) / eps), the share of a feature that is masked; l_t = epoch / 10."""
    return math.sin(math.pi / 2 * min(FULL, GROWTH * epoch) / FULL)


def mask_feature(feature: Tensor, masked: Tensor, ranks: Tensor, share: float) -> Tensor:
    """Return the feature with ``share`` of its columns at zero where ``masked`` holds, the rest scaled up."""
    gone = int(share * feature.shape[-1])
    scale = min(LARGEST_SCALE, 1 / max(1 - share, 1e-6))
    changed = feature * (ranks >= gone)[:, None, :] * scale
    return torch.where(masked[:, None, None], changed, feature)


class Amco(Method):
    """AMCo: part of the dependent modality's feature is masked, and each modality is trained by itself beside it.

    Zhou et al., "Adaptive Mask Co-optimization for Modal Dependence in Multimodal Learning" (ICASSP 2023), as the
    toolkit of the survey BalanceBenchmark (Xu et al., arXiv 2502.10816) has it: CE(z', y) + sum_m CE(z^m, y), z' from
    features of which a share p_t is masked in the dependent modality, the one whose part in a softmax over the logits
    of all modalities reaches sigma; z^m = W^m f^m + b / M.
    """

    title = "AMCo"
    strengths = (0.5, 0.6, 0.75)
    strength_name = "sigma"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        parts = parted_logits(model, features)
        with torch.no_grad():
            shares = dependence(parts)
            largest = torch.nn.functional.one_hot(shares.argmax(dim=0), len(features)).bool().T
            masked = largest & (shares >= 2 * self.strength / len(features))
        share = mask_share(batch.epoch)
        left = [
            mask_feature(x, where, self.random.permutation(x.shape[-1]), share)
            for x, where in zip(features, masked, strict=True)
        ]
        return add_unimodal(cross_entropy(model.fuse(left), batch.labels), parts, batch.labels)
