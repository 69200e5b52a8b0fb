"""MIDAS trained for samples that lack a modality: absent partners, or samples that lack one already in training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks.accuracy.methods.base import Batch, Model
from benchmarks.accuracy.methods.dropout import drop_one_modality
from benchmarks.accuracy.methods.midas import Midas
from midas_core import MidasState, Pairs, midas_objective


class AbsentPartners(Midas):
    """MIDAS with ``absent_share=0.5``: half of the mixed samples have one modality and lack the other."""

    title = "MIDAS (absent partners)"
    absent_share = 0.5


class Present(Midas):
    """MIDAS on samples half of which have lost a modality at random, which ``present=`` tells the loss.

    What is lost is zero in the fused head; unimodal losses and mixed samples count where their parts are there.
    """

    title = "MIDAS (present)"
    probability: ClassVar[float] = 0.5

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the total of eq. 11 of what is left."""
        features = model.features(batch.inputs)
        ones = [x.new_ones(*x.shape[:2], 1) for x in features]
        kept = drop_one_modality(ones, self.strength.new_full(self.strength.shape, self.probability), self.random)
        self.present = [x[..., 0] > 0 for x in kept]
        return self.objective(model, [x * k for x, k in zip(features, kept, strict=True)], batch)

    def more(self, batch: Batch) -> Tensor:
        """Return which modalities each sample has, shape (K, B, M)."""
        return torch.stack(self.present, dim=-1)

    def total(self, weight: Any, fused: Tensor, own: Any, mixed: Any, labels: Tensor, *rest: Any) -> Any:
        """Return the loss of one model, told what is missing."""
        pairs, alike, state, present = rest
        before = MidasState(*state)
        found = midas_objective(fused, own, mixed, labels, Pairs(*pairs), alike, before, weight=weight, present=present)
        return found.terms.total.mean(), tuple(found.state)
