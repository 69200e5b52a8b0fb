"""Data Remixing."""

from __future__ import annotations

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, Setup, add_unimodal, cross_entropy
from midas_core.compare.stack import Batch, Model, StackedSplit

WARMUP_SHARE = 1 / 6
WARMUP_WEIGHT = 0.5


def certainty(logits: Tensor) -> Tensor:
    """Return KL(softmax(z) || uniform) less log C, the negative entropy, of logits (..., C)."""
    logs = logits.log_softmax(dim=-1)
    return (logs.exp() * logs).sum(dim=-1)


class DataRemixing(Method):
    """Data Remixing: after a warm-up, a sample is trained with the one modality that is least sure of it.

    Ma, Chen and Deng, "Improving Multimodal Learning Balance and Sufficiency through Data Remixing" (ICML 2025).
    Warm-up with CE(z, y) + 0.5 * sum_m CE(z^m, y). Then, before each epoch, a pass over the training data: a sample
    goes to the modality whose prediction has the least Kullback-Leibler divergence from the uniform distribution, the
    others are masked, and batches hold one modality each: CE(z, y) + gamma * CE(z^m, y).
    """

    title = "Data Remixing"
    strengths = (0.5, 1.0, 2.0)
    strength_name = "gamma"
    trains_unimodal_heads = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.warmup_epochs = max(1, round(WARMUP_SHARE * setup.epochs))
        self.modality = torch.empty(0, dtype=torch.int64)  # (K, N)

    @torch.no_grad()
    def order(self, model: Model, training: StackedSplit, epoch: int, order: Tensor) -> Tensor:
        if epoch < self.warmup_epochs:
            return order
        sure = [
            torch.stack([certainty(z) for z in model.unimodal(model.features(batch.inputs))])
            for batch, _ in training.batches(epoch)
        ]
        self.modality = torch.cat(sure, dim=2).argmin(dim=0)
        return order.gather(1, self.modality.gather(1, order).argsort(dim=1, stable=True))

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        if batch.epoch < self.warmup_epochs:
            loss = cross_entropy(model.fuse(features), batch.labels)
            return add_unimodal(loss, model.unimodal(features), batch.labels, WARMUP_WEIGHT)
        chosen = self.modality.gather(1, batch.index)
        loss = cross_entropy(model.fuse([x * (chosen == m)[..., None] for m, x in enumerate(features)]), batch.labels)
        kept = torch.stack(model.unimodal(features))  # (M, K, B, C)
        kept = kept.gather(0, chosen[None, ..., None].expand(1, -1, -1, kept.shape[-1]))[0]
        return loss + self.strength * cross_entropy(kept, batch.labels)
