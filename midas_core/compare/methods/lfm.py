"""Label fitting that waits until the modalities match."""

from __future__ import annotations

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.methods.contrastive import matching_loss
from midas_core.compare.stack import Batch, Model

TEMPERATURE = 0.1


def matching_share(epoch: int, strength: Tensor) -> Tensor:
    """Return alpha_t = 1 - exp(-s / t), t = epoch + 1, shape (K,): the weight of the matching loss, which falls."""
    return 1 - torch.exp(-strength / (epoch + 1))


class Lfm(Method):
    """LFM: first the modalities learn to match, then to fit the labels.

    Yang et al., "Facilitating Multimodal Classification via Dynamically Learning Modality Gap" (NeurIPS 2024), its
    heuristic strategy: (1 - alpha_t) * CE(z, y) + alpha_t * L_match, alpha_t = 1 - exp(-s / t) in epoch t, L_match the
    contrastive loss between the modalities of a sample and the rest of the batch.
    """

    title = "LFM"
    strengths = (0.3, 1.0, 3.0)
    strength_name = "s"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        share = matching_share(batch.epoch, self.strength)
        fitting = cross_entropy(model.fuse(features), batch.labels)
        return (1 - share) * fitting + share * matching_loss(features, TEMPERATURE)
