"""MIDAS with another method in the place of its aligned term."""

from __future__ import annotations

import torch
from torch import Tensor

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.dropout import drop_one_modality
from midas_core.compare.methods.midas import Midas
from midas_core.compare.methods.mixup import mixup_loss
from midas_core.compare.stack import Batch, Model

MIXUP_STRENGTH = 1.0
DROPOUT_PROBABILITY = 0.5


class _Combined(Midas):
    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the total of eq. 11 with another aligned term."""
        features = model.features(batch.inputs)
        rest = self.objective(model, features, batch) - cross_entropy(model.fuse(features), batch.labels)
        return rest + self.aligned(model, features, batch.labels)

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        """Return what stands for CE(z, y), shape (K,)."""
        raise NotImplementedError


class MidasMixUp(_Combined):
    """MIDAS whose aligned term CE(z, y) is that of `MixUp`; the unimodal and the misaligned term are its own.

    Chosen here: lambda of MixUp is uniform (a = 1); the weight of the misaligned term is what is tuned.
    """

    title = "MIDAS + MixUp"

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of `MixUp`, shape (K,)."""
        return mixup_loss(model, features, labels, torch.full_like(self.strength, MIXUP_STRENGTH), self.random)


class MidasDropout(_Combined):
    """MIDAS whose aligned term CE(z, y) is that of modality dropout.

    Chosen here: half of the samples lose one modality; the weight of the misaligned term is what is tuned.
    """

    title = "MIDAS + dropout"

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        """Return the loss of modality dropout, shape (K,)."""
        probability = torch.full_like(self.strength, DROPOUT_PROBABILITY)
        return cross_entropy(model.fuse(drop_one_modality(features, probability, self.random)), labels)
