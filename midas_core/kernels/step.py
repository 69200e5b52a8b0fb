"""The MIDAS step by hand, for PyTorch's eager mode: losses forward, the closed-form gradient backward.

Two ways in. `linear_step` takes an additive head and linear unimodal heads, and goes from features to losses. An
additive head is linear on the concatenated features: z = b + sum_m f^m W_m. Its partial products f^m W_m are computed
once; the logits of the aligned and of the mixed samples are gathers and sums of them, and their gradient goes back by
the same way. `logits_step` takes the logits of any heads.

Logits become probabilities in place, and these the gradient of `midas_core.midas_gradients`, in the first backward pass
through a graph. A second one computes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from midas_core.backends.torch import BACKEND
from midas_core.kernels import eager
from midas_core.kernels.linear import columns_of
from midas_core.kernels.plan import Linear, Losses, Plan, Slopes
from midas_core.partners import VIEWS
from midas_core.weighting import PairWeights


def linear_step(
    plan: Plan, head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor], kernel: ModuleType = eager
) -> tuple[Losses, PairWeights]:
    """Return the losses of a step, differentiable once, and what weighed them.

    Parameters
    ----------
    plan : Plan
    head : Linear
        On the concatenated features, weight (C, D_1 + ... + D_M).
    unimodal_heads : sequence of M Linear
    features : sequence of M tensors, shapes (B, D_m)
    kernel : module
        `midas_core.kernels.eager`, or the one with the same functions for small batches.

    Returns
    -------
    losses : Losses
    pairs : PairWeights
    """
    found: list[PairWeights] = []
    tensors = [*head, *(x for each in unimodal_heads for x in each), *features]
    return Losses(*_LinearStep.apply(plan, kernel, found, *tensors)), found[0]


def logits_step(
    plan: Plan,
    unimodal_logits: Sequence[Tensor],
    fused_logits: Sequence[Tensor],
    features: Sequence[Tensor],
    kernel: ModuleType = eager,
) -> tuple[Losses, PairWeights]:
    """Return the losses of a step, and what weighed them.

    Parameters
    ----------
    plan : Plan
    unimodal_logits : sequence of M tensors, shape (B, C)
    fused_logits : sequence of tensors, shapes (..., C)
        Together the rows of the aligned samples and of the mixed ones.
    features : sequence of M tensors, shapes (B, ...)
        For the similarities.
    kernel : module
        As in `linear_step`.

    Returns
    -------
    losses : Losses
    pairs : PairWeights
    """
    found: list[PairWeights] = []
    losses = Losses(*_LogitsStep.apply(plan, kernel, found, features, *unimodal_logits, *fused_logits))
    return losses, found[0]


class _LinearStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, kernel: ModuleType, found: list[PairWeights], *tensors: Any) -> Any:
        own, fused, parts = _linear_logits(tensors)
        logs = kernel.softmax_(plan, own, fused, parts)
        del parts
        losses, pairs, weights = kernel.losses_of(plan, logs, _unflatten(tensors)[2])
        found.append(pairs)
        ctx.save_for_backward(*tensors)
        ctx.plan, ctx.kernel, ctx.weights, ctx.probabilities = plan, kernel, weights, (own, fused, logs)
        ctx.set_materialize_grads(False)
        return tuple(losses)

    @staticmethod
    def backward(ctx: Any, *of_losses: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            # create_graph=True. With once_differentiable a penalty on the gradient would vanish without a word.
            raise RuntimeError(
                "MidasLoss: the fused step is differentiable once, got create_graph=True; for a second derivative pass "
                "the head as a plain function, head=lambda x: linear(x)"
            )
        tensors, plan = ctx.saved_tensors, ctx.plan
        if all(x is None for x in of_losses):
            return (None,) * (3 + len(tensors))
        if ctx.probabilities is None:
            own, fused, parts = _linear_logits(tensors)
            logs = ctx.kernel.softmax_(plan, own, fused, parts)
        else:
            (own, fused, logs), ctx.probabilities = ctx.probabilities, None
            parts = torch.empty_like(own)
        slopes = Slopes.of(plan, *of_losses)
        sums = ctx.kernel.logits_gradient_(plan, own, fused, parts, logs, ctx.weights, slopes)
        # Their memory is free for the gradients.
        del fused
        return None, None, None, *_linear_gradients(own, parts, sums, tensors, ctx.needs_input_grad[3:])


class _LogitsStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, kernel: ModuleType, found: list[PairWeights], features: Any, *logits: Tensor
    ) -> Any:
        own, fused = _stacked(logits, plan)
        logs = kernel.softmax_(plan, own, fused, None)
        losses, pairs, weights = kernel.losses_of(plan, logs, features)
        found.append(pairs)
        ctx.save_for_backward(*logits)
        ctx.plan, ctx.kernel, ctx.weights, ctx.probabilities = plan, kernel, weights, (own, fused, logs)
        ctx.set_materialize_grads(False)
        return tuple(losses)

    @staticmethod
    def backward(ctx: Any, *of_losses: Tensor | None) -> Any:
        logits, plan = ctx.saved_tensors, ctx.plan
        if all(x is None for x in of_losses):
            return (None,) * (4 + len(logits))
        slopes, count = Slopes.of(plan, *of_losses), len(plan.pairs.sources)
        if torch.is_grad_enabled():
            weights = eager.Weights(*map(torch.as_tensor, ctx.weights))
            rows = eager.differentiable_gradient(plan, torch.cat(_stacked(logits, plan)), weights, slopes)
            own, fused = rows[:count], rows[count:]
        else:
            if ctx.probabilities is None:
                own, fused = _stacked(logits, plan)
                logs = ctx.kernel.softmax_(plan, own, fused, None)
            else:
                (own, fused, logs), ctx.probabilities = ctx.probabilities, None
            ctx.kernel.logits_gradient_(plan, own, fused, None, logs, ctx.weights, slopes)
        sizes = [x.numel() // x.shape[-1] for x in logits[count:]]
        gradients = (*own.unbind(), *fused.flatten(0, 1).split(sizes))
        return None, None, None, None, *(g.view(x.shape).to(x.dtype) for g, x in zip(gradients, logits, strict=True))


def _stacked(logits: Sequence[Tensor], plan: Plan) -> tuple[Tensor, Tensor]:
    """Return unimodal and fused logits as arrays of one's own, (M, B, C) and (1 + V, B, C), in full precision."""
    rows = [BACKEND.in_full_precision(x.flatten(0, -2)) for x in logits]
    count, shape = len(plan.pairs.sources), (-1, len(plan.labels), rows[0].shape[-1])
    return torch.cat(rows[:count]).view(shape), torch.cat(rows[count:]).view(shape)


def _linear_logits(tensors: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unimodal logits, room for the fused ones, and the partial products that these are sums of."""
    (weight, bias), unimodal_heads, features = _unflatten(tensors)
    count, size = len(features), (features[0].shape[0], weight.shape[0])
    own, parts, fused = (weight.new_empty((n, *size)) for n in (count, count, 1 + VIEWS))
    all_columns, each_own, each_part = columns_of(weight, features), own.unbind(), parts.unbind()
    for m, f in enumerate(features):
        own_weight, own_bias = unimodal_heads[m]
        _linear(f, own_weight, own_bias, out=each_own[m])
        # The bias of the fused head rides on the first partial product.
        _linear(f, all_columns[m], bias if m == 0 else None, out=each_part[m])
    return own, fused, parts


def _linear_gradients(
    own: Tensor, parts: Tensor, sums: Sequence[Tensor], tensors: Sequence[Any], wanted: Sequence[bool]
) -> list[Any]:
    """Take the gradient of the logits to that of weights, biases and features, in the order of the arguments."""
    (weight, _), unimodal_heads, features = _unflatten(tensors)
    (of_weight, of_bias), of_unimodal_heads, of_features = _unflatten(wanted)
    each_own, each_part = own.unbind(), parts.unbind()
    found: list[Any] = [torch.empty_like(weight) if of_weight else None, sums[-1] if of_bias else None]
    for m, f in enumerate(features):
        found.append(torch.mm(each_own[m].t(), f) if of_unimodal_heads[m][0] else None)
        found.append(sums[m] if of_unimodal_heads[m][1] else None)
    if of_weight:
        for m, out in enumerate(columns_of(found[0], features)):
            torch.mm(each_part[m].t(), features[m], out=out)
    all_columns = columns_of(weight, features)
    for m, asked in enumerate(of_features):
        through = None
        if asked:
            through = torch.mm(each_part[m], all_columns[m]).addmm_(each_own[m], unimodal_heads[m][0])
        found.append(through)
    return found


def _unflatten(flat: Sequence[Any]) -> tuple[Any, list[Any], Sequence[Any]]:
    """Return weight and bias of the head, those of each unimodal head, and the features."""
    split = 2 + 2 * ((len(flat) - 2) // 3)
    return flat[:2], [flat[k : k + 2] for k in range(2, split, 2)], flat[split:]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)
