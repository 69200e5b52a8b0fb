"""The logits of a head that is linear on the concatenated features, from partial products: z = b + sum_m f^m W_m."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn import functional

from midas_core.kernels.plan import Linear
from midas_core.partners import VIEWS


def additive_logits(
    head: Linear, features: Sequence[Tensor], sources: Tensor, absent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits of the aligned and of the mixed samples: z~_i = b + sum_m f^m[S[m, i]] W_m.

    Each partial product f^m W_m is computed once. What is absent, a mask of shape (M, V, B), adds nothing.

    Returns
    -------
    aligned : Tensor, shape (B, C)
    mixed : Tensor, shape (V, B, C)
    """
    parts = [functional.linear(f, w) for f, w in zip(features, columns_of(head.weight, features), strict=True)]
    return _of_partial_products(parts, head.bias, sources, absent)


def stacked_logits(
    head: Linear,
    unimodal_heads: Sequence[Linear],
    features: Sequence[Tensor],
    sources: Tensor,
    absent: Tensor | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the unimodal logits too, from one product of each feature with both of its weights.

    Returns
    -------
    unimodal : list of M tensors, shape (B, C)
    aligned, mixed : Tensor
        As from `additive_logits`.
    """
    unimodal, parts = [], []
    for f, own, columns in zip(features, unimodal_heads, columns_of(head.weight, features), strict=True):
        logits, part = functional.linear(f, torch.cat([own.weight, columns])).chunk(2, dim=1)
        unimodal.append(logits if own.bias is None else logits + own.bias)
        parts.append(part)
    return unimodal, *_of_partial_products(parts, head.bias, sources, absent)


def columns_of(weight: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split the weight of an additive head by modality."""
    return torch.split_with_sizes(weight, [f.shape[1] for f in features], dim=1)


def _of_partial_products(
    parts: list[Tensor], bias: Tensor | None, sources: Tensor, absent: Tensor | None
) -> tuple[Tensor, Tensor]:
    # The bias rides on the first product, unless that may be absent.
    if bias is not None and absent is None:
        parts = [parts[0] + bias, *parts[1:]]

    def row(m: int, v: int) -> Tensor:
        found = parts[m].index_select(0, sources[m, v])
        return found if absent is None else found.masked_fill(absent[m, v][:, None], 0.0)

    aligned = reduce(add, parts)
    mixed = torch.stack([reduce(add, [row(m, v) for m in range(len(parts))]) for v in range(VIEWS)])
    if bias is not None and absent is not None:
        aligned, mixed = aligned + bias, mixed + bias
    return aligned, mixed
