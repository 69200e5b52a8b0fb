"""MixUp over all modalities of a sample at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.stack import Batch, Model, Random


def beta_quantile(strength: Tensor, numbers: Tensor) -> Tensor:
    """Return the quantiles of Beta(a, a): of a uniform number they are a draw."""
    a = strength.double().numpy()
    quantiles = betaincinv(a, a, numbers.double().numpy())
    return torch.from_numpy(quantiles.astype(np.float32))


def interpolate(x: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Return lambda * x_i + (1 - lambda) * x_j, j the partner of i."""
    of_partners = torch.stack([samples[where] for samples, where in zip(x, partners, strict=True)])
    share = share.view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * of_partners


def draw_mixing(strength: Tensor, random: Random, batch: int) -> tuple[Tensor, Tensor]:
    """Return the partners, shape (K, B), and lambda, shape (K,), of a batch."""
    return random.permutation(batch), beta_quantile(strength, random.uniform(1)[:, 0])


def mixed_cross_entropy(logits: Tensor, labels: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Return lambda * CE(z, y_i) + (1 - lambda) * CE(z, y_j), shape (K,)."""
    of_partners = labels.gather(1, partners)
    return share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, of_partners)


class MixUp(Method):
    """MixUp of the features: every modality of a sample mixed with the same partner and the same lambda.

    mixup (Zhang et al., ICLR 2018), eq. 1: lambda * x_i + (1 - lambda) * x_j, the labels likewise, lambda ~ Beta(a, a);
    at the features after Manifold Mixup (Verma et al., ICML 2019). For several modalities it is the Multimodal Mixup of
    Ma, Ding and Chen (arXiv 2510.10986).
    """

    title = "MixUp"
    strengths = (0.2, 1.0, 2.0)
    strength_name = "a of Beta(a, a)"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        return mixup_loss(model, model.features(batch.inputs), batch.labels, self.strength, self.random)


def mixup_loss(model: Model, features: Sequence[Tensor], labels: Tensor, strength: Tensor, random: Random) -> Tensor:
    """Return the loss of `MixUp` for features that are there already, shape (K,)."""
    partners, share = draw_mixing(strength, random, labels.shape[1])
    logits = model.fuse([interpolate(x, partners, share) for x in features])
    return mixed_cross_entropy(logits, labels, partners, share)


class InputMixUp(MixUp):
    """MixUp of the inputs, as Zhang et al. (ICLR 2018) have it; the rest as in `MixUp`."""

    title = "input MixUp"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        partners, share = draw_mixing(self.strength, self.random, batch.labels.shape[1])
        mixed = [interpolate(x, partners, share) for x in batch.inputs]
        logits = model.fuse(model.features(mixed))
        return mixed_cross_entropy(logits, batch.labels, partners, share)
