"""The multimodal competition regularizer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from midas_core.compare.methods.base import Method, Setup, add_unimodal, cross_entropy
from midas_core.compare.methods.contrastive import supervised_contrastive_loss
from midas_core.compare.stack import Batch, Model, StackedLinear

PERMUTATIONS = 4
TEMPERATURE = 0.5


def jensen_shannon(left: Tensor, right: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of the predictions, mean over the samples."""
    log_p, log_q = left.log_softmax(dim=-1), right.log_softmax(dim=-1)
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    to_mean = log_p.exp() * (log_p - log_mean) + log_q.exp() * (log_q - log_mean)
    return to_mean.sum(dim=-1).mean(dim=-1) / 2


def competition(contributions: Sequence[Tensor], bias: Tensor, partners: Tensor) -> Tensor:
    """Return L_MIPD of the greedy game, sum_m (-JS_m + sum_{l != m} JS_l), shape (K,).

    JS is the divergence that permuting modality m makes in the prediction, as player m or l sees it: the contributions
    of all others are constants.
    """
    constants = [x.detach() for x in contributions]
    bias = bias.detach()
    total = torch.zeros(bias.shape[0])
    for player in range(len(contributions)):
        seen = [x if j == player else constants[j] for j, x in enumerate(contributions)]
        prediction = bias + torch.stack(seen).sum(dim=0)
        for m, part in enumerate(seen):
            logits = prediction - part + _permuted(part, partners)
            divergence = jensen_shannon(logits, prediction.expand_as(logits)).mean(dim=0)
            total = total + (-divergence if player == m else divergence)
    return total


def _permuted(x: Tensor, partners: Tensor) -> Tensor:
    # (P, K, B, C)
    return x.expand(len(partners), *x.shape).gather(2, partners[..., None].expand(*partners.shape, x.shape[-1]))


class Mcr(Method):
    """MCR: the modalities play for their influence on the prediction.

    Kontras et al., "Balancing Multimodal Training Through Game-Theoretic Regularization" (NeurIPS 2025).
    CE(z, y) + sum_m CE(z^m, y) + lambda * L_MIPD + L_Con + L_CEB. L_MIPD: each modality, as the player of a game,
    raises the Jensen-Shannon divergence that permuting it in the batch makes in the prediction, and lowers the
    divergence of the others. L_Con: supervised contrastive loss between the features. L_CEB: mean squared error of the
    features as a small decoder gives them back from the prediction.
    """

    title = "MCR"
    strengths = (0.01, 0.1, 1.0)
    strength_name = "lambda"
    trains_unimodal_heads = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        hidden, width = max(setup.feature_dims), sum(setup.feature_dims)
        self.decoder = nn.Sequential(
            StackedLinear(setup.num_classes, hidden, setup.random),
            nn.ReLU(),
            StackedLinear(hidden, width, setup.random),
        )

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        logits = model.fuse(features)
        loss = add_unimodal(cross_entropy(logits, batch.labels), model.unimodal(features), batch.labels)
        partners = torch.stack([self.random.permutation(batch.labels.shape[1]) for _ in range(PERMUTATIONS)])
        loss = loss + self.strength * competition(model.contributions(features), model.head.bias, partners)
        loss = loss + supervised_contrastive_loss(features, batch.labels, TEMPERATURE)
        decoded = self.decoder(logits.detach())
        return loss + (decoded - torch.cat(features, dim=-1)).square().mean(dim=(1, 2))

    def parameters(self) -> list[nn.Parameter]:
        return list(self.decoder.parameters())
