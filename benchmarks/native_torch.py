"""The algorithm of the core once more, in PyTorch's own functions: what array-api-compat is measured against.

The paper's variant with cosine similarity, without the checks of the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from midas_core import MidasState, MidasTerms, Objective

LOG_UNDERFLOW = -745.13


def native_step(
    features: Sequence[Tensor],
    fused: Tensor,
    unimodal: Sequence[Tensor],
    mixed: Tensor,
    labels: Tensor,
    permutation: Tensor,
    alpha: Tensor,
    step: Tensor,
    weight: float = 1.0,
    eta: float = 0.05,
) -> Objective:
    """Return all that `midas_core.midas_objective` does.

    Parameters
    ----------
    features : sequence of M tensors, shapes (B, D_m)
    fused : Tensor, shape (B, C)
    unimodal : sequence of M tensors, shape (B, C)
    mixed : Tensor, shape (V, B, C)
    labels, permutation : Tensor, shape (B,), int64
    alpha : Tensor, shape (M,)
    step : Tensor, shape ()
    weight, eta : float

    Returns
    -------
    Objective
    """
    batch, modalities = len(labels), len(unimodal)
    sources = _source_matrix(permutation, modalities)
    similarities = _similarity(features, sources)

    fused_log = _log_confidence(fused, labels)
    log_c = torch.stack([_log_confidence(z, labels) for z in unimodal])
    classes = labels.index_select(0, sources.flatten()).view(modalities, 2, batch)
    mask = (classes != classes[:1]).any(dim=0)
    picked = mixed.gather(-1, classes.permute(1, 2, 0))
    mixed_log = (picked - torch.logsumexp(mixed, dim=-1)[..., None]).permute(2, 0, 1)

    constant = log_c.detach()
    shares = _normalize(constant.gather(-1, sources.view(modalities, -1)).view(modalities, 2, batch))
    fused_shares = _normalize(mixed_log.detach())
    counts = mask & torch.isfinite((shares + fused_shares).sum(dim=0))
    count = counts.to(shares.dtype).sum()
    both = torch.where(counts, torch.stack([shares, fused_shares]), 0.0)
    confidence, fused_confidence = both.sum(dim=(2, 3)) / count.clamp(min=1.0)
    weak = torch.arange(modalities, device=labels.device) == confidence.argmin()
    gap = torch.where(weak, confidence - fused_confidence, 0.0).sum()

    current = torch.where(step == 0, torch.where(weak, alpha, 1.0), alpha)
    delta = (gap > 0).to(current.dtype) - (gap < 0).to(current.dtype)
    moved = torch.where(weak, (current + eta * delta).clamp(min=1.0), 1.0)
    next_alpha = torch.where(count > 0, moved, alpha)
    next_step = step + (count > 0).to(step.dtype)

    soft_weights = shares * current.view(-1, 1, 1) * (1 + (similarities + 1) / 2)
    soft_weights = torch.where(mask, soft_weights, 0.0)
    misaligned = -torch.where(mask, soft_weights * mixed_log, 0.0).sum(dim=(0, 1)) / 2
    aligned, own = -fused_log, -log_c
    total = aligned + own.sum(dim=0) + weight * misaligned
    terms = MidasTerms(total, aligned, own, misaligned, current, confidence, fused_confidence)
    return Objective(terms, MidasState(next_alpha, next_step), soft_weights)


def _source_matrix(permutation: Tensor, modalities: int) -> Tensor:
    participants = [torch.arange(len(permutation), device=permutation.device), permutation]
    while len(participants) < modalities:
        participants.append(permutation.index_select(0, participants[-1]))
    turns = [participants[v:] + participants[:v] for v in range(2)]
    return torch.stack([torch.stack(turn) for turn in turns], dim=1)


def _similarity(features: Sequence[Tensor], sources: Tensor) -> Tensor:
    replaced = sources != torch.arange(len(features[0]), device=sources.device)
    products, norms = [], []
    for feature, rows in zip(features, sources, strict=True):
        x = feature.detach()
        products += [(x * x.index_select(0, row)).sum(dim=-1) for row in rows]
        norms.append((x * x).sum(dim=-1).sqrt())
    norm = torch.stack(norms)
    norm = torch.where(norm > 0, norm, 1.0)
    others = norm.gather(-1, sources.view(len(features), -1)).view(sources.shape)
    found = torch.stack(products).view(sources.shape) / norm[:, None] / others
    total = torch.where(replaced, found, 0.0).sum(dim=0)
    count = replaced.to(total.dtype).sum(dim=0)
    return torch.where(count > 0, total, 1.0) / count.clamp(min=1.0)


def _log_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(-1, labels[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)


def _normalize(log_confidences: Tensor) -> Tensor:
    top = log_confidences.amax(dim=0, keepdim=True)
    shares = torch.exp(torch.where(top < LOG_UNDERFLOW, 0.0, log_confidences - top))
    return shares / shares.sum(dim=0, keepdim=True)
