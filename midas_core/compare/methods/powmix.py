"""PowMix: mixtures of many samples, each modality by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.stack import Batch, Model, Random

CONCENTRATIONS = (0.5, 1.5)
KEPT = (0.5, 1.0)
SMALLEST = 1e-5


class Mixture(NamedTuple):
    """Random factors of N mixtures of B samples, not normalised, and whether a sample takes part, in all modalities."""

    factors: Tensor  # (K, M, N, B)
    kept: Tensor  # (K, N, B)


def draw_mixture(random: Random, modalities: int, batch: int) -> Mixture:
    """Return what mixes a batch into as many mixtures: gamma variables, whose shares are Dirichlet, and a mask."""
    low, high = CONCENTRATIONS
    shape = (modalities, batch, batch)
    factors = random.draw(lambda rng: rng.standard_gamma(rng.uniform(low, high, batch), size=shape)).float()
    probability = KEPT[0] + (KEPT[1] - KEPT[0]) * random.uniform(batch, batch)
    kept = random.uniform(batch, batch) < probability
    return Mixture(factors, kept | (kept.sum(dim=-1, keepdim=True) < 2))


def mixing_factors(features: Sequence[Tensor], mixture: Mixture) -> Tensor:
    """Return the share of each sample in each mixture, sum 1 over the samples, shape (K, M, N, B).

    Those that are drawn, times how active a modality of a sample is among its modalities: the mean of its feature, not
    below 0, normalised over the modalities.
    """
    activity = torch.stack([x.detach().mean(dim=-1) for x in features], dim=1).clamp_min(0) + SMALLEST
    activity = activity / activity.sum(dim=1, keepdim=True)
    factors = mixture.factors * mixture.kept[:, None] * activity[:, :, None]
    return factors / factors.sum(dim=-1, keepdim=True)


class PowMix(Method):
    """PowMix: a regularizer of mixed features before the fusion.

    Georgiou, Avrithis and Potamianos, "PowMix: A Versatile Regularizer for Multimodal Sentiment Analysis" (TASLP 2024).
    CE(z, y) + w * CE(z', y'): N mixtures f'^m_n = sum_i lambda^m_ni f^m_i, y'_n = 1/M sum_m sum_i lambda^m_ni y_i.
    Its five parts: N may be any number; the factors differ between modalities (anisotropic); they are weighted by
    attention; each mixture takes some of the samples only (dynamic); labels are averaged over the modalities
    (cross-modal).
    """

    title = "PowMix"
    strengths = (0.5, 1.0, 2.0)
    strength_name = "weight"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        loss = cross_entropy(model.fuse(features), batch.labels)
        factors = mixing_factors(features, draw_mixture(self.random, len(features), batch.labels.shape[1]))
        mixed = model.fuse([factors[:, m] @ x for m, x in enumerate(features)])
        one_hot = torch.nn.functional.one_hot(batch.labels, model.num_classes).to(factors.dtype)
        targets = factors.mean(dim=1) @ one_hot
        soft = -(targets * mixed.log_softmax(dim=-1)).sum(dim=-1).mean(dim=1)
        return loss + self.strength * soft
