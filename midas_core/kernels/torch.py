"""The MIDAS step for an additive head and linear unimodal heads, fused by hand in PyTorch.

An additive head is linear on the concatenated features: z = b + sum_m f^m W_m. Its partial products f^m W_m are
computed once; the logits of the aligned and of the mixed samples are gathers and sums of them, and their gradient goes
back by the same way. Each array of logits becomes its gradient in place, by the closed form of
`midas_core.midas_gradients`, and goes on into the gradients of features and weights in the forward pass: no array of
shape (B, C) waits for the backward pass, which only multiplies.

`additive_losses` says the same in the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from midas_core.backends import Array, Backend
from midas_core.backends.torch import BACKEND
from midas_core.confidence import in_full_precision
from midas_core.kernels.host import on_host, weigh_pairs
from midas_core.misalignment import VIEWS
from midas_core.objective import PairWeights
from midas_core.weighting import MidasState, similarity

BLOCK = 2**18
"""Logits that are taken through the softmax at a time, about what a cache holds."""


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
        eta, variant, alpha_update, max_alpha and reduce, as `midas_core.weigh_pairs` takes them.
    similarity : {"cosine", "l2", None}
    weight : float
        lambda.
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
    weight: float
    mean: bool

    @property
    def scale(self) -> float:
        """What the loss of one sample counts."""
        return 1 / self.labels.shape[0] if self.mean else 1.0

    @property
    def unimodal_scale(self) -> float:
        """The same for one unimodal classifier: the authors' code averages them."""
        return self.scale / (self.sources.shape[0] if self.options["variant"] == "official" else 1)


class Losses(NamedTuple):
    """The losses of a step: total, aligned, misaligned of shape (), unimodal of shape (M,)."""

    total: Tensor
    aligned: Tensor
    unimodal: Tensor
    misaligned: Tensor


def fused_step(
    plan: Plan, head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor]
) -> tuple[Losses, PairWeights]:
    """Return the losses of a step, differentiable once, and what weighed them.

    Parameters
    ----------
    plan : Plan
    head : Linear
        On the concatenated features, weight (C, D_1 + ... + D_M).
    unimodal_heads : sequence of M Linear
    features : sequence of M tensors, shapes (B, D_m)

    Returns
    -------
    losses : Losses
    pairs : PairWeights
    """
    found: list[PairWeights] = []
    tensors = _flatten(head, unimodal_heads, features)
    # Without a backward pass to come the gradients would be for nothing.
    wanted = [torch.is_grad_enabled() and x is not None and x.requires_grad for x in tensors]
    losses = Losses(*_FusedStep.apply(plan, found, wanted, *tensors))
    return losses, found[0]


def additive_logits(head: Linear, features: Sequence[Tensor], sources: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the aligned and of the mixed samples: z~_i = b + sum_m f^m[S[m, i]] W_m.

    Each partial product f^m W_m is computed once.

    Returns
    -------
    aligned : Tensor, shape (B, C)
    mixed : Tensor, shape (V, B, C)
    """
    columns = head.weight.split([f.shape[1] for f in features], dim=1)
    parts = [functional.linear(f, w) for f, w in zip(features, columns, strict=True)]
    if head.bias is not None:
        parts[0] = parts[0] + head.bias
    views = [reduce(add, [part.index_select(0, sources[m, v]) for m, part in enumerate(parts)]) for v in range(VIEWS)]
    return reduce(add, parts), torch.stack(views)


def additive_losses(
    plan: Plan, soft_weights: Tensor, head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor]
) -> Losses:
    """Return what `fused_step` does where the soft weights (M, V, B) are known, for autograd to differentiate."""
    reduction = "mean" if plan.mean else "sum"
    aligned_logits, mixed_logits = additive_logits(head, features, plan.sources)
    aligned = functional.cross_entropy(aligned_logits, plan.labels, reduction=reduction)
    unimodal = torch.stack(
        [
            functional.cross_entropy(functional.linear(f, *h), plan.labels, reduction=reduction)
            for f, h in zip(features, unimodal_heads, strict=True)
        ]
    )
    mixed_log = mixed_logits.log_softmax(dim=-1).gather(-1, plan.classes.permute(1, 2, 0)).permute(2, 0, 1)
    misaligned = torch.where(plan.mask, soft_weights * mixed_log, 0.0).sum() * (-plan.scale / VIEWS)
    total = aligned + unimodal.sum() * (plan.unimodal_scale / plan.scale) + plan.weight * misaligned
    return Losses(total, aligned, unimodal, misaligned)


def similarities_of(features: Sequence[Tensor], sources: Tensor, kind: str | None) -> Tensor | None:
    """Return what `midas_core.similarity` does, shape (V, B), or None.

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
    flat = tuple(in_full_precision(x.detach().flatten(1), backend=BACKEND) for x in features)
    found: Tensor = on_host(partial(_similarities, kind=kind), sources, flat)
    return found


class _FusedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, found: list[PairWeights], wanted: list[bool], *tensors: Any) -> Any:
        head, unimodal_heads, features = _unflatten(tensors)
        of_head, of_unimodal_heads, of_features = _unflatten(wanted)
        gradients: list[Tensor | None] = [None] * len(tensors)
        to_head, to_unimodal_heads, to_features = _places(len(features))
        count, batch, num_classes = len(features), plan.labels.shape[0], head.weight.shape[0]

        # The unimodal classifiers, from logits to the gradient of their heads.
        own = features[0].new_empty((count, batch, num_classes))
        for f, h, out in zip(features, unimodal_heads, own, strict=True):
            _linear(f, *h, out=out)
        entries = plan.labels.expand(count, -1).reshape(-1, 1)
        rows = own.flatten(0, 1)
        own_log = _softmax_(rows, entries).view(count, batch)
        if any(wanted):
            rows.scatter_add_(1, entries, rows.new_full((1, 1), -1.0).expand_as(entries))
            own *= plan.unimodal_scale
        for m, (error, f, h) in enumerate(zip(own, features, unimodal_heads, strict=True)):
            if of_unimodal_heads[m].weight:
                gradients[to_unimodal_heads[m].weight] = torch.mm(error.t(), f)
            if of_unimodal_heads[m].bias:
                gradients[to_unimodal_heads[m].bias] = error.sum(dim=0)
            if of_features[m]:
                gradients[to_features[m]] = torch.mm(error, h.weight)
        del own, rows

        # The fused classifier on the aligned samples, where each supplies itself, and on the mixed ones.
        columns = head.weight.split([f.shape[1] for f in features], dim=1)
        biases = [head.bias, *[None] * (count - 1)]
        parts = [_linear(f, w, b) for f, w, b in zip(features, columns, biases, strict=True)]
        itself = torch.arange(batch, device=plan.labels.device).expand(count, -1)
        suppliers = torch.cat([itself, plan.sources.flatten(1)], dim=1)
        entries = torch.cat([plan.labels.expand(count, -1), plan.classes.flatten(1)], dim=1).t()
        logits = parts[0].new_empty((len(entries), num_classes))
        log = _softmax_(logits, entries, lambda block, out: _gather_sum(parts, suppliers[:, block], out))

        # What a sample weighs as a whole, and the share of each class that is asked of it.
        losses, weights, targets, pairs = on_host(
            partial(_weigh, plan=plan), own_log, log, plan.mask, plan.sources, tuple(features), plan.state
        )
        found.append(pairs)

        if any(wanted):
            logits *= weights
            logits.scatter_add_(1, entries, targets)
            # Back to the partial products: their memory is free.
            for part, supplier in zip(parts, suppliers, strict=True):
                part.zero_().index_add_(0, supplier, logits)
            del logits
        if of_head.weight:
            gradients[to_head.weight] = of_weight = torch.empty_like(head.weight)
            for part, f, out in zip(parts, features, of_weight.split([f.shape[1] for f in features], 1), strict=True):
                torch.mm(part.t(), f, out=out)
        if of_head.bias:
            gradients[to_head.bias] = parts[0].sum(dim=0)
        for m, (part, w) in enumerate(zip(parts, columns, strict=True)):
            if of_features[m]:
                gradients[to_features[m]].addmm_(part, w)

        ctx.save_for_backward(pairs.soft_weights, *tensors, *gradients)
        ctx.plan = plan._replace(state=None, options={"variant": plan.options["variant"]})
        ctx.set_materialize_grads(False)
        return tuple(losses)

    @staticmethod
    def backward(ctx: Any, of_total: Tensor | None, *of_parts: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            # create_graph=True. With once_differentiable a penalty on the gradient would vanish without a word.
            raise RuntimeError(
                "MidasLoss: the fused step is differentiable once, got create_graph=True; for a second derivative pass "
                "the head as a plain function, head=lambda x: linear(x)"
            )
        soft_weights, *saved = ctx.saved_tensors
        count = len(saved) // 2
        tensors, gradients = saved[:count], saved[count:]
        wanted = [m for m, x in enumerate(gradients) if x is not None]
        if all(x is None for x in of_parts):
            scaled = torch._foreach_mul([gradients[m] for m in wanted], of_total)
        else:
            # Somebody weighs the terms in a way of their own: once more, in the plain way.
            with torch.enable_grad():
                leaves = [None if x is None else x.detach().requires_grad_() for x in tensors]
                losses = additive_losses(ctx.plan, soft_weights, *_unflatten(leaves))
                asked = [(x, g) for x, g in zip(losses, (of_total, *of_parts), strict=True) if g is not None]
                scaled = torch.autograd.grad(
                    [x for x, _ in asked], [leaves[m] for m in wanted], [g for _, g in asked], allow_unused=True
                )
        found = dict(zip(wanted, scaled, strict=True))
        return None, None, None, *(found.get(m) for m in range(count))


def _flatten(head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor]) -> list[Any]:
    return [*head, *(x for each in unimodal_heads for x in each), *features]


def _unflatten(flat: Sequence[Any]) -> tuple[Linear, list[Linear], list[Any]]:
    count = (len(flat) - 2) // 3
    heads = [Linear(*flat[2 * m : 2 * m + 2]) for m in range(1 + count)]
    return heads[0], heads[1:], list(flat[2 + 2 * count :])


def _places(count: int) -> Any:
    return _unflatten(range(2 + 3 * count))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    if bias is None:
        return torch.mm(x, weight.t(), out=out)
    return torch.addmm(bias, x, weight.t(), out=out)


def _gather_sum(parts: Sequence[Tensor], suppliers: Tensor, out: Tensor) -> None:
    """Sum up the rows that each modality supplies."""
    torch.index_select(parts[0], 0, suppliers[0], out=out)
    for part, supplier in zip(parts[1:], suppliers[1:], strict=True):
        out += part.index_select(0, supplier)


def _softmax_(logits: Tensor, entries: Tensor, fill: Any = None) -> Tensor:
    """Turn logits into probabilities in place, in blocks; return their logarithms at a few entries of each row."""
    size = max(1, BLOCK // logits.shape[1])
    picked = []
    for start in range(0, len(logits), size):
        block = slice(start, start + size)
        if fill is not None:
            fill(block, logits[block])
        log_probabilities = torch.log_softmax(logits[block], dim=1)
        picked.append(log_probabilities.gather(1, entries[block]))
        torch.exp(log_probabilities, out=logits[block])
    return picked[0] if len(picked) == 1 else torch.cat(picked)


def _weigh(
    own_log: Array,
    log: Array,
    mask: Array,
    sources: Array,
    features: tuple[Array, ...],
    state: MidasState,
    *,
    plan: Plan,
    backend: Backend,
) -> tuple[tuple[Array, ...], Array, Array, PairWeights]:
    """Return the losses, the weight of each row of logits, what its entries are asked for, and what weighed them."""
    xp = backend.xp
    count, batch = own_log.shape
    scale = plan.scale
    mixed_log = xp.permute_dims(xp.reshape(log[batch:, :], (VIEWS, batch, count)), (2, 0, 1))
    similarities = _similarities(sources, features, kind=plan.similarity, backend=backend)
    pairs = weigh_pairs(own_log, mixed_log, mask, sources, similarities, state, **plan.options, backend=backend)

    aligned = xp.sum(log[:batch, 0]) * -scale
    unimodal = xp.sum(own_log, axis=1) * -scale
    misaligned = xp.sum(backend.where(mask, pairs.soft_weights * mixed_log, 0.0)) * (-scale / VIEWS)
    total = aligned + xp.sum(unimodal) * (plan.unimodal_scale / scale) + misaligned * plan.weight
    # An aligned sample is asked for its one class by each modality in equal parts.
    of_aligned = xp.zeros_like(own_log) + scale / count
    of_mixed = xp.reshape(pairs.soft_weights, (count, -1)) * (scale * plan.weight / VIEWS)
    targets = xp.permute_dims(xp.concat([of_aligned, of_mixed], axis=1), (1, 0))
    return (total, aligned, unimodal, misaligned), xp.sum(targets, axis=1, keepdims=True), -targets, pairs


def _similarities(
    sources: Array, features: tuple[Array, ...], *, kind: str | None, backend: Backend
) -> Array | None:
    if kind != "cosine" or len(features) != 2:
        return None if kind is None else similarity(features, sources, kind, backend=backend)
    # Of two modalities each view replaces the other one, by the same permutation.
    xp, partner, cosines = backend.xp, sources[0, 1, ...], []
    for x in reversed(features):
        norm = xp.sqrt(xp.vecdot(x, x))
        norm = backend.where(norm > 0, norm, 1.0)
        cosines.append(xp.vecdot(x, xp.take(x, partner, axis=0)) / norm / xp.take(norm, partner, axis=0))
    return backend.where(sources[0, 0, ...] == partner, 1.0, xp.stack(cosines))
