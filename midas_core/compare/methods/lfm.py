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

    Yang et al., "Facilitating Multimodal Classification via Dynamically Learning Modality Gap" (NeurIPS 2024).
    (1 - alpha_t) * CE(z, y) + alpha_t * L_match, alpha_t = 1 - exp(-1 / t) in epoch t: the paper's heuristic strategy,
    as a summary of the paper gives it. L_match is the contrastive loss between the modalities of a sample and those of
    the rest of the batch.

    Chosen here:

    - alpha_t = 1 - exp(-s / t): s = 1 is the paper's, and what is tuned;
    - L_match is InfoNCE on the features at length 1, temperature 0.1, both directions, the mean over pairs of
      modalities; the features need one width.

    The paper's other strategy, which learns alpha by a second-order step on held-out data, is left out.
    """

    title = "LFM"
    strengths = (0.3, 1.0, 3.0)
    strength_name = "s"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the two losses in the proportion of the epoch."""
        features = model.features(batch.inputs)
        share = matching_share(batch.epoch, self.strength)
        fitting = cross_entropy(model.fuse(features), batch.labels)
        return (1 - share) * fitting + share * matching_loss(features, TEMPERATURE)
