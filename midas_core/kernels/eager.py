"""From logits to losses and to the gradient of the logits, in PyTorch's own calls, on any device.

The logits are given in two arrays: each sample under each unimodal head, shape (M, B, C); the aligned and the mixed
samples under the fused one, shape (1 + V, B, C). `midas_core.kernels.small` has the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from midas_core.backends import Array
from midas_core.backends.torch import BACKEND
from midas_core.cross_entropy import label_weights
from midas_core.kernels.plan import Losses, Plan, Slopes
from midas_core.missing import complete_pairs, unimodal_scale
from midas_core.partners import VIEWS
from midas_core.similarity import similarity as specified
from midas_core.weighting import PairWeights, weigh_pairs

BLOCK, DEVICE_BLOCK = 2**18, 2**24
"""Logits that are taken through the softmax at a time: on a CPU about what a cache holds, elsewhere few launches."""


class Logs(NamedTuple):
    """Log-probabilities.

    Attributes
    ----------
    own : Tensor, shape (M + 1, B)
        At the label of each sample: under the unimodal heads and, aligned, under the fused one.
    mixed : Tensor, shape (M, V, B)
        At the class of each modality, under the fused head.
    own_mean, mixed_mean : Tensor, shape (M + 1, B) and (V, B), or None
        Their mean over all classes, where labels are smoothed.
    """

    own: Tensor
    mixed: Tensor
    own_mean: Tensor | None
    mixed_mean: Tensor | None


class Weights(NamedTuple):
    """What each cross-entropy counts in the loss that it belongs to.

    Attributes
    ----------
    own : Tensor, shape (M + 1, B)
        At the label of each sample: under the unimodal heads and, aligned, under the fused one.
    mixed : Tensor, shape (M, V, B)
        At the class of each modality, under the fused head.
    """

    own: Tensor
    mixed: Tensor


def softmax_(plan: Plan, own: Tensor, fused: Tensor, parts: Tensor | None) -> Logs:
    """Turn logits into probabilities in place; return the logarithms of those that a loss asks for.

    Parameters
    ----------
    plan : Plan
    own : Tensor, shape (M, B, C)
    fused : Tensor, shape (1 + V, B, C)
        Yet to be filled where there are parts.
    parts : Tensor, shape (M, B, C), or None
        Partial products of an additive head, whose sums are its logits.
    """
    if parts is not None:
        _gather_sum(parts, plan.pairs.sources, fused)
    elif plan.present is not None:
        # Whatever a head makes of what is missing: 0 * NaN is NaN.
        own.masked_fill_(~plan.present.t()[..., None], 0.0)
        whole = complete_pairs(plan.present, plan.pairs.sources, backend=BACKEND)
        fused[1:].masked_fill_(~whole[..., None], 0.0)
    (count, batch, _), smooth = own.shape, plan.label_smoothing > 0
    own_log, own_mean = _softmax_(own.flatten(0, 1), _at_labels(plan, count), smooth)
    aligned_log, aligned_mean = _softmax_(fused[0], _at_labels(plan), smooth)
    mixed_log, mixed_mean = _softmax_(fused[1:].flatten(0, 1), _at_classes(plan), smooth)
    own_mean = None if own_mean is None or aligned_mean is None else torch.cat([own_mean, aligned_mean])
    return Logs(
        torch.cat([own_log, aligned_log]).view(count + 1, batch),
        mixed_log.t().reshape(count, VIEWS, batch),
        None if own_mean is None else own_mean.view(count + 1, batch),
        None if mixed_mean is None else mixed_mean.view(VIEWS, batch),
    )


def losses_of(plan: Plan, logs: Logs, features: Sequence[Tensor]) -> tuple[Losses, PairWeights, Weights]:
    """Return the losses, what weighed the pairs, and what each cross-entropy counts."""
    similarities = None
    if plan.similarity is not None:
        similarities = similarity(features, plan.pairs.sources, plan.similarity)
    mask = plan.pairs.mask
    if plan.present is not None:
        mask = mask & complete_pairs(plan.present, plan.pairs.sources, backend=BACKEND)
    pairs = weigh_pairs(
        logs.own[:-1], logs.mixed, mask, plan.pairs.sources, similarities, plan.state, **plan.options, backend=BACKEND
    )
    own, mixed = torch.full_like(logs.own, plan.scale), pairs.soft_weights * (plan.scale / VIEWS)
    if plan.present is not None:
        own[:-1] *= unimodal_scale(plan.present, own.dtype, BACKEND)
    given = label_weights(plan.targets, own.dtype, BACKEND)
    if given is not None:
        own *= given
        mixed = mixed * given[plan.pairs.sources]
    own_q, mixed_q = _smooth(plan, logs.own, logs.own_mean), _smooth(plan, logs.mixed, logs.mixed_mean)
    by_head = (own * own_q).sum(dim=1).neg()
    misaligned = torch.where(mask, mixed * mixed_q, 0.0).sum().neg()
    unimodal, aligned = by_head[:-1].clone(), by_head[-1].clone()
    total = aligned + unimodal.sum() * plan.unimodal_factor + misaligned * plan.weight
    return Losses(total, aligned, unimodal, misaligned), pairs, Weights(own, mixed)


def logits_gradient_(
    plan: Plan, own: Tensor, fused: Tensor, parts: Tensor | None, logs: Logs, weights: Weights, slopes: Slopes
) -> list[Tensor]:
    """Turn probabilities into the gradient of the logits in place; what each part gave goes back to ``parts``.

    As `midas_core.midas_gradients`: softmax less target, times what the row weighs.

    Returns
    -------
    list of M + 1 tensors, shape (C,)
        Its sums over the batch: under each unimodal head and under the fused one.
    """
    smoothing, count = plan.label_smoothing, len(own)
    own_weights, aligned = weights.own[:-1] * slopes.unimodal, weights.own[-1:] * slopes.aligned
    mixed = weights.mixed * slopes.misaligned
    fused_weights = torch.cat([aligned, mixed.sum(dim=0)])
    for x, row_weights in ((own, own_weights[..., None]), (fused, fused_weights[..., None])):
        x *= row_weights
        if smoothing > 0:
            x -= row_weights * (smoothing / x.shape[-1])
    kept = smoothing - 1
    own.flatten(0, 1).scatter_add_(1, _at_labels(plan, count), own_weights.view(-1, 1) * kept)
    fused[0].scatter_add_(1, _at_labels(plan), aligned.view(-1, 1) * kept)
    fused[1:].flatten(0, 1).scatter_add_(1, _at_classes(plan), mixed.flatten(1).t() * kept)
    if parts is not None:
        for m, part in enumerate(parts):
            part.copy_(fused[0]).index_add_(0, plan.pairs.sources[m].flatten(), fused[1:].flatten(0, 1))
    return [*own.sum(dim=1), fused.sum(dim=(0, 1))]


def differentiable_gradient(plan: Plan, logits: Tensor, weights: Weights, slopes: Slopes) -> Tensor:
    """Return what `logits_gradient_` does of all rows, shape (M + 1 + V, B, C), for a second derivative."""
    own = torch.cat([weights.own[:-1] * slopes.unimodal, weights.own[-1:] * slopes.aligned])
    mixed = weights.mixed * slopes.misaligned
    at_labels = torch.zeros_like(logits).view(-1, logits.shape[-1])
    size = own.numel()
    targets = torch.cat(
        [
            at_labels[:size].scatter_add(1, _at_labels(plan, len(own)), own.view(-1, 1)),
            at_labels[size:].scatter_add(1, _at_classes(plan), mixed.flatten(1).t()),
        ]
    ).view_as(logits)
    smoothing = plan.label_smoothing
    row_weights = torch.cat([own, mixed.sum(dim=0)])[..., None]
    even = smoothing / logits.shape[-1]
    return row_weights * (logits.softmax(dim=-1) - even) - (1 - smoothing) * targets


def similarity(features: Sequence[Tensor], sources: Tensor, kind: str) -> Tensor:
    """Give what `midas_core.similarity` does, where all have partners; the cosine of two features at half the work."""
    features = [BACKEND.in_full_precision(x.detach().flatten(1)) for x in features]
    if kind != "cosine" or len(features) != 2:
        found: Array = specified(features, sources, kind, backend=BACKEND)
        return found
    # Of two modalities each version replaces the other one, from the same partner.
    partner, cosines = sources[0, 1], []
    norms = torch.stack([(x * x).sum(dim=-1) for x in features]).sqrt()
    norms = torch.where(norms < torch.inf, norms, torch.nan)
    norms = torch.where(norms != 0, norms, 1.0)
    for x, norm in zip(reversed(features), reversed(norms.unbind()), strict=True):
        product = (x * x.index_select(0, partner)).sum(dim=-1)
        cosines.append(product / norm / norm.index_select(0, partner))
    return torch.where(sources[0, 0] == partner, 1.0, torch.stack(cosines))


def _at_labels(plan: Plan, times: int = 1) -> Tensor:
    return plan.labels.repeat(times)[:, None]


def _at_classes(plan: Plan) -> Tensor:
    return plan.pairs.classes.flatten(1).t()


def _smooth(plan: Plan, log: Tensor, mean: Tensor | None) -> Tensor:
    eps = plan.label_smoothing
    return log if mean is None else log * (1 - eps) + mean * eps


def _block_rows(logits: Tensor) -> int:
    return max(1, (BLOCK if logits.device.type == "cpu" else DEVICE_BLOCK) // logits.shape[-1])


def _gather_sum(parts: Tensor, sources: Tensor, out: Tensor) -> None:
    """Sum up the rows that each modality supplies: the aligned ones, then the mixed ones."""
    torch.sum(parts, dim=0, out=out[0])
    size, out = _block_rows(out), out[1:].flatten(0, 1)
    for block, rows in zip(out.split(size), sources.flatten(1).split(size, dim=1), strict=True):
        torch.index_select(parts[0], 0, rows[0], out=block)
        for part, row in zip(parts[1:], rows[1:], strict=True):
            block += part.index_select(0, row)


def _softmax_(logits: Tensor, entries: Tensor, smooth: bool) -> tuple[Tensor, Tensor | None]:
    """Turn logits into probabilities in place, in blocks; return the logarithms at a few entries of each row."""
    size = _block_rows(logits)
    picked, means = [], []
    for block, entry in zip(logits.split(size), entries.split(size), strict=True):
        log_probabilities = torch.log_softmax(block, dim=1)
        picked.append(log_probabilities.gather(1, entry))
        if smooth:
            means.append(log_probabilities.mean(dim=1))
        torch.exp(log_probabilities, out=block)
    return torch.cat(picked), torch.cat(means) if smooth else None
