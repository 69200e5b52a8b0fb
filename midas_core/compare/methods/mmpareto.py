"""MMPareto: unimodal losses whose gradients do not work against the fused one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from midas_core.compare.methods.base import Method, Setup, cross_entropy, row
from midas_core.compare.stack import Batch, Model


def combine_gradients(fused: Tensor, unimodal: Tensor, strength: Tensor) -> Tensor:
    """Return the gradient that an encoder takes its step along, shape (K, n).

    2 a g_fused + 2 (1 - a) g_unimodal: a = 1/2 where the two do not conflict (g_fused . g_unimodal >= 0), else the a in
    [0, 1] of the least norm; then lengthened to the norm of g_fused + g_unimodal, where it is shorter, and multiplied
    by gamma.
    """
    apart = unimodal - fused
    least = (apart * unimodal).sum(dim=1) / (apart * apart).sum(dim=1).clamp_min(1e-30)
    conflict = (fused * unimodal).sum(dim=1) < 0
    share = torch.where(conflict, least.clamp(0, 1), 0.5)[:, None]
    combined = 2 * share * fused + 2 * (1 - share) * unimodal
    plain = (fused + unimodal).norm(dim=1)
    length = (plain / combined.norm(dim=1).clamp_min(1e-30)).clamp_min(1)
    return combined * (strength * length)[:, None]


class MmPareto(Method):
    """MMPareto: CE(z, y) + sum_m CE(z^m, y), the two gradients of each encoder combined.

    Wei and Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance" (ICML 2024). Where they
    conflict, the weights of least norm give a direction that serves both (Pareto integration, MGDA for two tasks), and
    its length is made up to the length of the plain sum; gamma lengthens all of it.
    """

    title = "MMPareto"
    strengths = (1.0, 1.5, 2.0)
    strength_name = "gamma"
    trains_unimodal_heads = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.unimodal_gradients: list[list[Tensor | None]] = []

    def loss(self, model: Model, batch: Batch) -> Tensor:
        # Kept for `after_backward`: the unimodal gradients of the encoders.
        features = model.features(batch.inputs)
        unimodal = [cross_entropy(logits, batch.labels) for logits in model.unimodal(features)]
        self.unimodal_gradients = [
            list(torch.autograd.grad(loss.sum(), _trained(encoder), retain_graph=True, allow_unused=True))
            for loss, encoder in zip(unimodal, model.encoders, strict=True)
        ]
        return cross_entropy(model.fuse(features), batch.labels) + torch.stack(unimodal).sum(dim=0)

    def after_backward(self, model: Model) -> None:
        for encoder, gradients in zip(model.encoders, self.unimodal_gradients, strict=True):
            pairs = [(p.grad, g) for p, g in zip(_trained(encoder), gradients, strict=True) if p.grad is not None]
            rows = [row(total) for total, _ in pairs]
            unimodal = torch.cat([row(_or_zero(g, total)) for total, g in pairs], dim=1)
            combined = combine_gradients(torch.cat(rows, dim=1) - unimodal, unimodal, self.strength)
            for old, new in zip(rows, combined.split([x.shape[1] for x in rows], dim=1), strict=True):
                old.copy_(new)


def _trained(encoder: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in encoder.parameters() if parameter.requires_grad]


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient.contiguous()
