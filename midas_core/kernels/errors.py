"""From logits to losses, and to the error of each logit: softmax less target, times what the row weighs.

Twice: in PyTorch, and in compiled loops for small batches on the CPU, where a call costs more than its numbers. Both
work in place. The rows are, in this order, each sample under each unimodal classifier, the aligned samples under the
fused one, and the mixed samples under the fused one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midas_core.alpha import MidasState
from midas_core.backends import Array, Backend
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.confidence import in_full_precision
from midas_core.kernels.host import loops, on_host, to_torch, weigh_pairs
from midas_core.kernels.plan import Losses, Plan
from midas_core.misalignment import VIEWS
from midas_core.objective import PairWeights
from midas_core.similarity import similarity

BLOCK, DEVICE_BLOCK = 2**18, 2**24
"""Logits that are taken through the softmax at a time: on a CPU about what a cache holds, elsewhere few launches."""


def errors_(
    plan: Plan, own: Tensor, parts: Tensor, features: Sequence[Tensor], *, wanted: bool
) -> tuple[Losses, PairWeights, list[Tensor]]:
    """Turn logits into errors in place; return losses, what weighed the pairs, and the sums of errors.

    Parameters
    ----------
    plan : Plan
    own : Tensor, shape (M, B, C)
        Logits of the unimodal classifiers; becomes their errors.
    parts : Tensor, shape (M, B, C)
        Partial products of the fused head, whose sum gives its logits; become their errors.
    features : sequence of M tensors, shapes (B, D_m)
    wanted : bool
        Whether the errors are needed; if not, what is left in ``own`` and ``parts`` means nothing.

    Returns
    -------
    losses : Losses
    pairs : PairWeights
    sums : list of M + 1 tensors, shape (C,)
        Of the errors over the batch: under each unimodal classifier and under the fused one. Empty if not wanted.
    """
    count, batch, num_classes = own.shape
    own = own.view(-1, num_classes)
    itself = torch.arange(batch, device=own.device).expand(count, -1)
    suppliers = torch.cat([itself, plan.sources.flatten(1)], dim=1)
    fused = own.new_empty((suppliers.shape[1], num_classes))
    _gather_sum(parts, suppliers, fused)

    own_entries = plan.labels.expand(count, -1).reshape(-1, 1)
    entries = torch.cat([plan.labels.expand(count, -1), plan.classes.flatten(1)], dim=1).t()
    own_log = _softmax_(own, own_entries).view(count, batch)
    log = _softmax_(fused, entries)

    def finish(
        own_log: Array, log: Array, mask: Array, sources: Array, features: Any, state: MidasState, *, backend: Backend
    ) -> tuple[Losses, PairWeights, Array, Array]:
        xp = backend.xp
        mixed_log = xp.permute_dims(xp.reshape(log[batch:, :], (VIEWS, batch, count)), (2, 0, 1))
        similarities = similarity_of(features, sources, plan.similarity, backend)
        pairs = weigh_pairs(own_log, mixed_log, mask, sources, similarities, state, **plan.options, backend=backend)
        losses = _losses(plan, log[:batch, 0], own_log, mixed_log, mask, pairs, backend)
        # An aligned sample is asked for its one class by each modality in equal parts.
        of_aligned = xp.zeros_like(own_log) + plan.scale / count
        of_mixed = xp.reshape(pairs.soft_weights, (count, -1)) * (plan.scale * plan.weight / VIEWS)
        targets = xp.permute_dims(xp.concat([of_aligned, of_mixed], axis=1), (1, 0))
        return losses, pairs, xp.sum(targets, axis=1, keepdims=True), -targets

    arguments = (own_log, log, plan.mask, plan.sources, tuple(features), plan.state)
    losses, pairs, weights, targets = on_host(finish, *arguments)
    if wanted:
        own.scatter_add_(1, own_entries, own.new_full((1, 1), -1.0).expand_as(own_entries))
        own *= plan.unimodal_scale
        fused *= weights
        fused.scatter_add_(1, entries, targets)
        # Back to the partial products: their memory is free.
        for part, supplier in zip(parts, suppliers, strict=True):
            part.zero_().index_add_(0, supplier, fused)
    sums = [x.sum(dim=0) for x in (*own.view(count, batch, -1), parts[0])] if wanted else []
    return losses, pairs, sums


def small_errors_(
    plan: Plan, rows: Tensor, parts: Tensor, features: Sequence[Tensor], *, wanted: bool
) -> tuple[Losses, PairWeights, list[Tensor]]:
    """Do what `errors_` does, on the CPU; ``rows``, shape (M + 1 + V, B, C), starts with ``own`` and has room."""
    fast = loops()
    labels, sources, classes, mask, logits, products = (x.numpy() for x in (*plan[:4], rows, parts))
    own_log, fused_log = fast.lowered_(logits, products, labels, sources, classes)
    with np.errstate(all="ignore"):
        np.exp(logits, out=logits)
        scales = fast.normalized_(logits, own_log, fused_log)
        state = MidasState(plan.state.alpha.numpy(), plan.state.step.numpy())
        similarities = similarity_of([x.detach().numpy() for x in features], sources, plan.similarity, NUMPY)
        weighing = (own_log, fused_log[:, 1:], mask, sources, similarities, state)
        pairs = weigh_pairs(*weighing, **plan.options, backend=NUMPY)
    weights = (plan.scale, plan.unimodal_scale)
    found = fast.losses_of(own_log, fused_log, mask, pairs.soft_weights, *weights, plan.weight)
    losses, sums = Losses(found[0, ...], found[1, ...], found[3:], found[2, ...]), []
    if wanted:
        by_class = (labels, sources, classes, pairs.soft_weights)
        sums = fast.errors_(logits, scales, products, *by_class, *weights, plan.scale * plan.weight / VIEWS)
    return to_torch(losses), to_torch(pairs), [torch.from_numpy(x) for x in sums]


def similarity_of(features: Sequence[Array], sources: Array, kind: str | None, backend: Backend) -> Array | None:
    """Return what `midas_core.similarity` does; for the cosine of two features by half the work. None gives None."""
    if kind is None:
        return None
    if kind != "cosine" or len(features) != 2:
        return similarity(features, sources, kind, backend=backend)
    # Of two modalities each view replaces the other one, by the same permutation.
    if backend is NUMPY and (fast := loops()):
        found = np.empty(sources.shape[1:], np.result_type(*features))
        for x, out in zip(reversed(features), found, strict=True):
            fast.cosine_of_two(x, sources[0, 1], out)
        return found
    xp, partner, cosines = backend.xp, sources[0, 1, ...], []
    for x in reversed(features):
        norm = xp.sqrt(xp.vecdot(x, x))
        norm = backend.where(norm > 0, norm, 1.0)
        cosines.append(xp.vecdot(x, xp.take(x, partner, axis=0)) / norm / xp.take(norm, partner, axis=0))
    return backend.where(sources[0, 0, ...] == partner, 1.0, xp.stack(cosines))


def similarities_of(features: Sequence[Tensor], sources: Tensor, kind: str | None) -> Tensor | None:
    """Do the same for features of any shape (B, ...) and precision, on their device."""
    if kind is None:
        return None

    def measure(sources: Array, features: tuple[Array, ...], *, backend: Backend) -> Array | None:
        return similarity_of(features, sources, kind, backend)

    flat = tuple(in_full_precision(x.detach().flatten(1), backend=TORCH) for x in features)
    found: Tensor | None = on_host(measure, sources, flat)
    return found


def _losses(
    plan: Plan, aligned_log: Array, own_log: Array, mixed_log: Array, mask: Array, pairs: PairWeights, backend: Backend
) -> Losses:
    xp = backend.xp
    aligned = xp.sum(aligned_log) * -plan.scale
    unimodal = xp.sum(own_log, axis=1) * -plan.scale
    products = backend.where(mask, pairs.soft_weights * mixed_log, 0.0)
    misaligned = xp.sum(products) * (-plan.scale / VIEWS)
    total = aligned + xp.sum(unimodal) * (plan.unimodal_scale / plan.scale) + misaligned * plan.weight
    return Losses(total, aligned, unimodal, misaligned)


def _block_rows(logits: Tensor) -> int:
    return max(1, (BLOCK if logits.device.type == "cpu" else DEVICE_BLOCK) // logits.shape[1])


def _gather_sum(parts: Tensor, suppliers: Tensor, out: Tensor) -> None:
    """Sum up the rows that each modality supplies."""
    size = _block_rows(out)
    for block, rows in zip(out.split(size), suppliers.split(size, dim=1), strict=True):
        torch.index_select(parts[0], 0, rows[0], out=block)
        for part, row in zip(parts[1:], rows[1:], strict=True):
            block += part.index_select(0, row)


def _softmax_(logits: Tensor, entries: Tensor) -> Tensor:
    """Turn logits into probabilities in place, in blocks; return their logarithms at a few entries of each row."""
    size = _block_rows(logits)
    picked = []
    for block, entry in zip(logits.split(size), entries.split(size), strict=True):
        log_probabilities = torch.log_softmax(block, dim=1)
        picked.append(log_probabilities.gather(1, entry))
        torch.exp(log_probabilities, out=block)
    return torch.cat(picked)
