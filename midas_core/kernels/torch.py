"""The MIDAS step for an additive head, fused by hand in PyTorch.

An additive head is linear on the concatenated features: z = b + sum_m f^m W_m. Its partial products f^m W_m are
computed once, for the aligned batch; the logits of the mixed samples are gathers and sums of them, and their gradient
goes back by the same way. The log-softmax of every logits array becomes its gradient in place, by the closed form of
`midas_core.midas_gradients`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas_core.backends import Backend
from midas_core.backends.torch import BACKEND
from midas_core.confidence import in_full_precision
from midas_core.kernels.host import on_host
from midas_core.misalignment import VIEWS, pair_classes, pair_mask
from midas_core.objective import PairWeights, weigh_pairs
from midas_core.weighting import MidasState, similarity


class Plan(NamedTuple):
    """What a fused step takes beside the tensors that are differentiated.

    Attributes
    ----------
    labels : Tensor, shape (B,), int64
    sources : Tensor, shape (M, V, B), int64
    state : MidasState
    options : dict
        eta, variant, alpha_update and max_alpha, as `midas_core.weigh_pairs` takes them.
    similarity : {"cosine", "l2", None}
    mean : bool
        Whether the losses are averaged over the batch, or summed.
    """

    labels: Tensor
    sources: Tensor
    state: MidasState
    options: dict[str, Any]
    similarity: str | None
    mean: bool


def fused_step(
    plan: Plan, weight: Tensor, bias: Tensor | None, features: list[Tensor], unimodal_logits: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, PairWeights]:
    """Return the losses of a step, differentiable once.

    Parameters
    ----------
    plan : Plan
    weight : Tensor, shape (C, D_1 + ... + D_M)
        Of the additive head.
    bias : Tensor, shape (C,), or None
    features : list of M tensors, shapes (B, D_m)
    unimodal_logits : list of M tensors, shape (B, C)

    Returns
    -------
    aligned : Tensor, shape ()
    unimodal : Tensor, shape (M,)
    misaligned : Tensor, shape ()
    pairs : PairWeights
    """
    found: list[PairWeights] = []
    losses = _FusedStep.apply(plan, found, weight, bias, *features, *unimodal_logits)
    return *losses, found[0]


def similarities_of(features: Sequence[Tensor], sources: Tensor, kind: str | None) -> Tensor | None:
    """Return what `midas_core.similarity` does, shape (V, B), or None; for the cosine of two features by half the work.

    Parameters
    ----------
    features : sequence of M tensors, shapes (B, ...)
    sources : Tensor, shape (M, V, B), int64
        From `midas_core.source_matrix`.
    kind : {"cosine", "l2", None}

    Returns
    -------
    Tensor or None
    """
    if kind is None:
        return None
    if kind != "cosine" or len(features) != 2:
        return similarity(features, sources, kind, backend=BACKEND)
    # Of two modalities each view replaces the other one, by the same permutation.
    partner = sources[0, 1]
    cosines = []
    for feature in reversed(features):
        full = in_full_precision(feature.detach().flatten(1), backend=BACKEND)
        unit = torch.nn.functional.normalize(full, dim=1)
        cosines.append(torch.linalg.vecdot(unit, unit.index_select(0, partner)))
    return torch.where(sources[0, 0] == partner, 1.0, torch.stack(cosines))


class _FusedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, found: list[PairWeights], weight: Tensor, bias: Any, *tensors: Tensor) -> Any:
        count = len(tensors) // 2
        features, unimodal_logits = tensors[:count], tensors[count:]
        labels, sources = plan.labels, plan.sources
        classes, mask = on_host(_classes, labels, sources)
        if plan.options["variant"] == "official":
            mask = torch.ones_like(mask)

        # Partial products, once; the bias rides on the first.
        columns = weight.split([f.shape[1] for f in features], dim=1)
        parts = [torch.mm(f, w.t()) for f, w in zip(features, columns, strict=True)]
        if bias is not None:
            parts[0] += bias
        logits = torch.empty((1 + VIEWS, *parts[0].shape), dtype=weight.dtype, device=weight.device)
        _sum_parts(parts, sources, logits)
        del parts

        # log softmax, the few entries that the losses need, then softmax in place.
        fused = torch.log_softmax(logits, dim=-1)
        del logits
        aligned_log = fused[0].gather(1, labels[:, None])[:, 0]
        by_modality = classes.permute(1, 2, 0)
        mixed_log = fused[1:].gather(2, by_modality).permute(2, 0, 1)
        unimodal = [torch.log_softmax(z, dim=-1) for z in unimodal_logits]
        log_c = torch.stack([z.gather(1, labels[:, None])[:, 0] for z in unimodal])

        similarities = similarities_of(features, sources, plan.similarity)
        weigh = partial(weigh_pairs, **plan.options)
        pairs = on_host(weigh, log_c, mixed_log, mask, sources, similarities, plan.state)
        found.append(pairs)
        soft_weights = pairs.soft_weights
        scale = 1 / labels.shape[0] if plan.mean else 1.0
        products = torch.where(mask, soft_weights * mixed_log, 0)
        losses = (
            aligned_log.sum() * -scale,
            log_c.sum(dim=1) * -scale,
            products.sum() * (-scale / VIEWS),
        )

        # The closed-form gradients, where the log-probabilities were.
        aligned_error = _error_(fused[0], labels, scale)
        mixed_error = fused[1:].exp_().mul_(soft_weights.sum(dim=0)[..., None])
        mixed_error.scatter_add_(2, by_modality, -soft_weights.permute(1, 2, 0)).mul_(scale / VIEWS)
        # Straight to the partial products: the mixed samples themselves are no longer needed.
        swapped = [torch.zeros_like(aligned_error) for _ in range(count)]
        for m, gradient in enumerate(swapped):
            for v in range(VIEWS):
                gradient.index_add_(0, sources[m, v], mixed_error[v])
        errors = [_error_(z, labels, scale) for z in unimodal]
        ctx.save_for_backward(weight, *features, aligned_error.clone(), *swapped, *errors)
        ctx.count, ctx.has_bias = count, bias is not None
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_aligned: Tensor, of_unimodal: Tensor, of_misaligned: Tensor) -> Any:
        count = ctx.count
        weight, *rest = ctx.saved_tensors
        features, aligned, swapped = rest[:count], rest[count], rest[count + 1 : 2 * count + 1]
        errors = rest[2 * count + 1 :]
        needs_weight, needs_bias, *needs = ctx.needs_input_grad[2:]
        of_weight = torch.empty_like(weight) if needs_weight else None
        of_bias, of_features = None, []
        aligned = aligned * of_aligned
        start = 0
        for m, feature in enumerate(features):
            stop = start + feature.shape[1]
            of_part = torch.addcmul(aligned, swapped[m], of_misaligned)
            if m == 0 and ctx.has_bias and needs_bias:
                of_bias = of_part.sum(dim=0)
            of_features.append(of_part @ weight[:, start:stop] if needs[m] else None)
            if of_weight is not None:
                torch.mm(of_part.t(), feature, out=of_weight[:, start:stop])
            start = stop
        of_logits = [e * of_unimodal[m] if needs[count + m] else None for m, e in enumerate(errors)]
        return None, None, of_weight, of_bias, *of_features, *of_logits


def _classes(labels: Tensor, sources: Tensor, *, backend: Backend) -> tuple[Tensor, Tensor]:
    classes = pair_classes(labels, sources, backend=backend)
    return classes, pair_mask(classes, backend=backend)


def _sum_parts(parts: list[Tensor], sources: Tensor, logits: Tensor) -> None:
    """Write the logits of the aligned batch to ``logits[0]`` and of each view behind it."""
    for m, part in enumerate(parts):
        for v in range(VIEWS):
            rows = part.index_select(0, sources[m, v])
            logits[1 + v].copy_(rows) if m == 0 else logits[1 + v].add_(rows)
        logits[0].copy_(part) if m == 0 else logits[0].add_(part)


def _error_(log_probabilities: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Return scale * (softmax - onehot), in place."""
    probabilities = log_probabilities.exp_()
    less = torch.full_like(labels, -1, dtype=probabilities.dtype)
    return probabilities.scatter_add_(1, labels[:, None], less[:, None]).mul_(scale)
