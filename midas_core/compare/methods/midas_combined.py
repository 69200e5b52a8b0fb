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
        features = model.features(batch.inputs)
        rest = self.objective(model, features, batch) - cross_entropy(model.fuse(features), batch.labels)
        return rest + self.aligned(model, features, batch.labels)

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        """Return the loss in the place of CE(z, y), shape (K,)."""
        raise NotImplementedError


class MidasMixUp(_Combined):
    """MIDAS with the loss of `MixUp`, a = 1, in the place of its aligned term CE(z, y)."""

    title = "MIDAS + MixUp"

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        return mixup_loss(model, features, labels, torch.full_like(self.strength, MIXUP_STRENGTH), self.random)


class MidasDropout(_Combined):
    """MIDAS with the loss of modality dropout, for half of the samples, in the place of its aligned term CE(z, y)."""

    title = "MIDAS + dropout"

    def aligned(self, model: Model, features: list[Tensor], labels: Tensor) -> Tensor:
        probability = torch.full_like(self.strength, DROPOUT_PROBABILITY)
        return cross_entropy(model.fuse(drop_one_modality(features, probability, self.random)), labels)
