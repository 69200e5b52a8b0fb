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
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from midas_core.kernels.errors import errors_, small_errors_
from midas_core.kernels.host import loops
from midas_core.kernels.plan import Linear, Losses, Plan
from midas_core.misalignment import VIEWS
from midas_core.objective import PairWeights

SMALL = 2**21
"""Logits, over the threads that PyTorch would use on them, up to which the loops are ahead of its calls."""

FEW_CLASSES = 128
"""Up to which `stacked_logits` serves a compiled step: beyond, copying the weights costs more than it saves."""


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
    tensors = [*head, *(x for each in unimodal_heads for x in each), *features]
    # Without a backward pass to come the gradients would be for nothing.
    enabled = torch.is_grad_enabled()
    wanted = [enabled and x is not None and x.requires_grad for x in tensors]
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
    parts = [functional.linear(f, w) for f, w in zip(features, _columns(head, features), strict=True)]
    return _of_partial_products(parts, head.bias, sources)


def stacked_logits(
    head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor], sources: Tensor
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the unimodal logits too, from one product of each feature with both of its weights.

    Returns
    -------
    unimodal : list of M tensors, shape (B, C)
    aligned, mixed : Tensor
        As from `additive_logits`.
    """
    unimodal, parts = [], []
    for f, own, columns in zip(features, unimodal_heads, _columns(head, features), strict=True):
        logits, part = functional.linear(f, torch.cat([own.weight, columns])).chunk(2, dim=1)
        unimodal.append(logits if own.bias is None else logits + own.bias)
        parts.append(part)
    return unimodal, *_of_partial_products(parts, head.bias, sources)


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


class _FusedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, found: list[PairWeights], wanted: list[bool], *tensors: Any) -> Any:
        head, unimodal_heads, features = _unflatten(tensors)
        count, batch, num_classes = len(features), plan.labels.shape[0], head.weight.shape[0]
        num_rows = (count + 1 + VIEWS) * batch
        small = (
            plan.labels.device.type == "cpu"
            and num_rows * num_classes * torch.get_num_threads() <= SMALL
            and loops() is not None
        )
        rows = head.weight.new_empty((count + (1 + VIEWS if small else 0), batch, num_classes))
        parts = head.weight.new_empty((count, batch, num_classes))
        columns = _columns(head, features)
        for m, f in enumerate(features):
            _linear(f, *unimodal_heads[m], out=rows[m])
            # The bias of the fused head rides on the first partial product.
            _linear(f, columns[m], head.bias if m == 0 else None, out=parts[m])

        turn = small_errors_ if small else errors_
        losses, pairs, sums = turn(plan, rows, parts, features, wanted=any(wanted))
        gradients: list[Tensor | None] = [None] * len(wanted)
        if any(wanted):
            gradients = _gradients(rows[:count], parts, sums, columns, head, unimodal_heads, features, wanted)
        found.append(pairs)
        ctx.save_for_backward(pairs.soft_weights, *tensors, *gradients)
        ctx.plan, ctx.taken = plan, False
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
            if of_total is None:
                return (None,) * (3 + count)
            scaled: Any = [gradients[m] for m in wanted]
            # The loss that backward() is called on itself: they may go as they are, once. On the host a look is free.
            if ctx.taken or of_total.device.type != "cpu" or of_total.item() != 1:
                scaled = torch._foreach_mul(scaled, of_total)
            ctx.taken = True
        else:
            # Somebody weighs the terms in a way of their own: once more, in the plain way.
            with torch.enable_grad():
                leaves: list[Any] = [None if x is None else x.detach().requires_grad_() for x in tensors]
                losses = additive_losses(ctx.plan, soft_weights, *_unflatten(leaves))
                asked = [(x, g) for x, g in zip(losses, (of_total, *of_parts), strict=True) if g is not None]
                scaled = torch.autograd.grad(
                    [x for x, _ in asked], [leaves[m] for m in wanted], [g for _, g in asked], allow_unused=True
                )
        found = dict(zip(wanted, scaled, strict=True))
        return None, None, None, *(found.get(m) for m in range(count))


def _gradients(
    own: Tensor,
    parts: Tensor,
    sums: Sequence[Tensor],
    columns: Sequence[Tensor],
    head: Linear,
    unimodal_heads: Sequence[Linear],
    features: Sequence[Tensor],
    wanted: list[bool],
) -> list[Tensor | None]:
    """Take the errors of the logits to those of the weights, biases and features, in the order of the arguments."""
    of_head, of_unimodal_heads, of_features = _unflatten(wanted)
    of_weight = torch.empty_like(head.weight) if of_head.weight else None
    found: list[Tensor | None] = [of_weight, sums[-1] if of_head.bias else None]
    for error, total, f, asked in zip(own, sums[:-1], features, of_unimodal_heads, strict=True):
        found.append(torch.mm(error.t(), f) if asked.weight else None)
        found.append(total if asked.bias else None)
    if of_weight is not None:
        of_columns = of_weight.split([f.shape[1] for f in features], dim=1)
        for part, f, out in zip(parts, features, of_columns, strict=True):
            torch.mm(part.t(), f, out=out)
    for m, part in enumerate(parts):
        through = torch.mm(part, columns[m]).addmm_(own[m], unimodal_heads[m].weight) if of_features[m] else None
        found.append(through)
    return found


def _columns(head: Linear, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split the weight of an additive head by modality."""
    return head.weight.split([f.shape[1] for f in features], dim=1)


def _of_partial_products(parts: list[Tensor], bias: Tensor | None, sources: Tensor) -> tuple[Tensor, Tensor]:
    if bias is not None:
        parts = [parts[0] + bias, *parts[1:]]
    views = [reduce(add, [part.index_select(0, sources[m, v]) for m, part in enumerate(parts)]) for v in range(VIEWS)]
    return reduce(add, parts), torch.stack(views)


def _unflatten(flat: Sequence[Any]) -> tuple[Linear, list[Linear], list[Any]]:
    count = (len(flat) - 2) // 3
    heads = [Linear(*flat[2 * m : 2 * m + 2]) for m in range(1 + count)]
    return heads[0], heads[1:], list(flat[2 + 2 * count :])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    if bias is None:
        return torch.mm(x, weight.t(), out=out)
    return torch.addmm(bias, x, weight.t(), out=out)
