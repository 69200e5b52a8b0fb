"""On-the-fly gradient modulation, with the noise that is to make up for it."""

from __future__ import annotations

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, Setup, cross_entropy, row
from midas_core.compare.methods.dominance import lead, parted_logits, scores
from midas_core.compare.stack import Batch, Model


def gradient_coefficients(ratio: Tensor, strength: Tensor) -> Tensor:
    """Return k^m = 1 - tanh(alpha * rho^m) where rho^m > 1, else 1, shape (M, K)."""
    return torch.where(ratio > 1, 1 - torch.tanh(strength * ratio), 1.0)


class OgmGe(Method):
    """OGM-GE: gradients of the leading encoder shrink, and noise is added to all encoders'.

    Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation" (CVPR 2022).
    theta^m <- theta^m - lr * (k^m * g^m + xi), xi ~ N(0, Sigma); k^m = 1 - tanh(alpha * rho^m) where rho^m > 1, else 1;
    rho^m = sum_i s_i^m / sum_i s_i^l, s_i^m the probability of the true class by softmax(W^m f^m + b / 2).
    """

    title = "OGM-GE"
    strengths = (0.1, 0.3, 1.0)
    strength_name = "alpha"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.coefficients: Tensor | None = None

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        with torch.no_grad():
            ratio = lead(scores(parted_logits(model, features), batch.labels))
            self.coefficients = gradient_coefficients(ratio, self.strength)
        return cross_entropy(model.fuse(features), batch.labels)

    def after_backward(self, model: Model) -> None:
        assert self.coefficients is not None, "loss() comes first"
        for encoder, coefficient in zip(model.encoders, self.coefficients, strict=True):
            for parameter in encoder.parameters():
                if parameter.grad is None:
                    continue
                rows = row(parameter.grad)
                noise = self.random.normal(rows.shape[1]) * rows.std(dim=1, correction=0, keepdim=True)
                rows.mul_(coefficient[:, None]).add_(noise)
