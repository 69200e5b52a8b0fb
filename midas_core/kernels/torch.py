"""The MIDAS step for an additive head and linear unimodal heads, fused by hand in PyTorch.

An additive head is linear on the concatenated features: z = b + sum_m f^m W_m. Its partial products f^m W_m are
computed once, for the aligned batch; the logits of the mixed samples are gathers and sums of them, and their gradient
goes back by the same way. Each array of logits becomes its gradient in place, by the closed form of
`midas_core.midas_gradients`: nothing else is left for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas_core.backends import Array, Backend
from midas_core.backends.torch import BACKEND
from midas_core.confidence import in_full_precision
from midas_core.kernels.host import on_host
from midas_core.misalignment import VIEWS
from midas_core.objective import PairWeights, weigh_pairs
from midas_core.weighting import MidasState, similarity

BLOCK = 2**20
"""Logits that are taken through the softmax at a time: what that needs beside them stays small."""


class Linear(NamedTuple):
    """A linear map, as in ``nn.Linear``: weight (C, D), bias (C,) or None."""

    weight: Tensor
    bias: Tensor | None


class Plan(NamedTuple):
    """What a fused step takes beside the tensors that are differentiated.

    Attributes
    ----------
    labels : Tensor, shape (B,), int64
    sources : Tensor, shape (M, V, B), int64
    classes : Tensor, shape (M, V, B), int64
        From `midas_core.pair_classes`.
    mask : Tensor, shape (V, B), bool
        The mixed samples that count.
    state : MidasState
    options : dict
        eta, variant, alpha_update and max_alpha, as `midas_core.weigh_pairs` takes them.
    similarity : {"cosine", "l2", None}
    mean : bool
        Whether the losses are averaged over the batch, or summed.
    """

    labels: Tensor
    sources: Tensor
    classes: Tensor
    mask: Tensor
    state: MidasState
    options: dict[str, Any]
    similarity: str | None
    mean: bool


def fused_step(
    plan: Plan, head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, PairWeights]:
    """Return the losses of a step, differentiable once.

    Parameters
    ----------
    plan : Plan
    head : Linear
        On the concatenated features, weight (C, D_1 + ... + D_M).
    unimodal_heads : sequence of M Linear
    features : sequence of M tensors, shapes (B, D_m)

    Returns
    -------
    aligned : Tensor, shape ()
    unimodal : Tensor, shape (M,)
    misaligned : Tensor, shape ()
    pairs : PairWeights
    """
    found: list[PairWeights] = []
    weights, biases = zip(*unimodal_heads, strict=True)
    aligned, unimodal, misaligned = _FusedStep.apply(plan, found, *head, *features, *weights, *biases)
    return aligned, unimodal, misaligned, found[0]


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
    def forward(ctx: Any, plan: Plan, found: list[PairWeights], weight: Tensor, bias: Any, *rest: Any) -> Any:
        count = len(rest) // 3
        features, unimodal_weights, unimodal_biases = rest[:count], rest[count : 2 * count], rest[2 * count :]
        batch, num_classes = plan.labels.shape[0], weight.shape[0]
        flat_sources = plan.sources.flatten(1)

        # Partial products, once; the bias rides on the first.
        columns = weight.split([f.shape[1] for f in features], dim=1)
        biases = [bias, *[None] * (count - 1)]
        parts = [_linear(f, w, b) for f, w, b in zip(features, columns, biases, strict=True)]
        mixed = parts[0].index_select(0, flat_sources[0])
        for part, rows in zip(parts[1:], flat_sources[1:], strict=True):
            mixed += part.index_select(0, rows)
        own = parts[0].new_empty((1 + count, batch, num_classes))
        torch.add(parts[0], parts[1], out=own[0])
        for part in parts[2:]:
            own[0] += part
        for m, (f, w, b) in enumerate(zip(features, unimodal_weights, unimodal_biases, strict=True)):
            _linear(f, w, b, out=own[1 + m])

        # Where a sample is asked: at its class, or at the class of each modality.
        own, mixed = own.flatten(0, 1), mixed.view(-1, num_classes)
        own_index = plan.labels.repeat(1 + count)[:, None]
        mixed_index = plan.classes.flatten(1).t()
        own_log = _softmax_(own, own_index).view(1 + count, batch)
        mixed_log = _softmax_(mixed, mixed_index).t().view(count, VIEWS, batch)

        similarities = similarities_of(features, plan.sources, plan.similarity)
        scale = 1 / batch if plan.mean else 1.0
        weigh = partial(_weigh, options=plan.options, scale=scale)
        losses, row_weights, pairs = on_host(
            weigh, own_log, mixed_log, plan.mask, plan.sources, similarities, plan.state
        )
        found.append(pairs)

        # Softmax less target, but for the factors that the backward pass brings.
        own.scatter_add_(1, own_index, own.new_full((1, 1), -1.0).expand_as(own_index))
        mixed *= row_weights.view(-1, 1)
        mixed.scatter_add_(1, mixed_index, -pairs.soft_weights.flatten(1).t())
        # Back to the partial products: their memory is free, and the mixed samples are no longer needed.
        for part, rows in zip(parts, flat_sources, strict=True):
            part.zero_().index_add_(0, rows, mixed)
        ctx.save_for_backward(weight, *unimodal_weights, *features, own.view(1 + count, batch, -1), *parts)
        ctx.scale = scale
        return losses

    @staticmethod
    def backward(ctx: Any, of_aligned: Tensor, of_unimodal: Tensor, of_misaligned: Tensor) -> Any:
        if torch.is_grad_enabled():
            # create_graph=True. With once_differentiable a penalty on the gradient would vanish without a word.
            raise RuntimeError(
                "MidasLoss: the fused step is differentiable once, got create_graph=True; for a second derivative pass "
                "the head as a plain function, head=lambda x: linear(x)"
            )
        saved = ctx.saved_tensors
        count = (len(saved) - 2) // 3
        weight, unimodal_weights, features = saved[0], saved[1 : count + 1], saved[count + 1 : 2 * count + 1]
        errors, parts = saved[2 * count + 1], saved[2 * count + 2 :]
        needs_weight, needs_bias, *needs = ctx.needs_input_grad[2:]
        aligned = errors[0] * (of_aligned * ctx.scale)
        of_unimodal = of_unimodal * ctx.scale
        of_misaligned = of_misaligned * (ctx.scale / VIEWS)

        of_weight = torch.empty_like(weight) if needs_weight else None
        of_bias = None
        of_features: list[Tensor | None] = []
        of_weights: list[Tensor | None] = []
        of_biases: list[Tensor | None] = []
        start = 0
        for m, feature in enumerate(features):
            columns = slice(start, start := start + feature.shape[1])
            of_part = torch.addcmul(aligned, parts[m], of_misaligned)
            of_own = errors[1 + m] * of_unimodal[m]
            if m == 0 and needs_bias:
                of_bias = of_part.sum(dim=0)
            if of_weight is not None:
                torch.mm(of_part.t(), feature, out=of_weight[:, columns])
            through = torch.mm(of_part, weight[:, columns]).addmm_(of_own, unimodal_weights[m]) if needs[m] else None
            of_features.append(through)
            of_weights.append(torch.mm(of_own.t(), feature) if needs[count + m] else None)
            of_biases.append(of_own.sum(dim=0) if needs[2 * count + m] else None)
        return None, None, of_weight, of_bias, *of_features, *of_weights, *of_biases


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    if bias is None:
        return torch.mm(x, weight.t(), out=out)
    return torch.addmm(bias, x, weight.t(), out=out)


def _softmax_(logits: Tensor, index: Tensor) -> Tensor:
    """Turn logits into probabilities in place; return their logarithms at a few entries of each row."""
    rows = max(1, BLOCK // logits.shape[1])
    picked = []
    for block, entries in zip(logits.split(rows), index.split(rows), strict=True):
        log_probabilities = torch.log_softmax(block, dim=1)
        picked.append(log_probabilities.gather(1, entries))
        torch.exp(log_probabilities, out=block)
    return picked[0] if len(picked) == 1 else torch.cat(picked)


def _weigh(
    own_log: Array,
    mixed_log: Array,
    mask: Array,
    sources: Array,
    similarities: Array | None,
    state: MidasState,
    *,
    options: dict[str, Any],
    scale: float,
    backend: Backend,
) -> tuple[tuple[Array, Array, Array], Array, PairWeights]:
    """Return the three losses, the weight of each mixed sample as a whole, and its parts."""
    xp = backend.xp
    pairs = weigh_pairs(own_log[1:], mixed_log, mask, sources, similarities, state, **options, backend=backend)
    own = xp.sum(own_log, axis=1) * -scale
    products = backend.where(mask, pairs.soft_weights * mixed_log, 0.0)
    losses = (own[0], own[1:], xp.sum(products) * (-scale / VIEWS))
    return losses, xp.sum(pairs.soft_weights, axis=0), pairs
