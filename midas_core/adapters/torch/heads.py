"""How a fused head is run: from partial products where it is additive, stacked where it may be, else one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from midas_core.adapters.torch.inputs import check_logits
from midas_core.backends.torch import BACKEND, under_autocast
from midas_core.modalities import Modalities, leaves, map_leaves
from midas_core.pairing import clear_rows
from midas_core.partners import VIEWS
from midas_core.validation import check_shape

FEW_CLASSES = 128
"""Up to which a compiled step stacks the products of a feature: beyond, copying the weights costs more."""


class Linear(NamedTuple):
    """A linear map, as in ``nn.Linear``: weight (C, D), bias (C,) or None."""

    weight: Tensor
    bias: Tensor | None


def additive_parameters(head: Any) -> Linear | None:
    """Return weight and bias of a head that is linear on concatenated features, or None.

    That is ``nn.Linear``, a ``nn.Sequential`` of nothing else, or a module with a true attribute ``additive``, whose
    ``weight`` (C, D) and ``bias`` (C,) or None mean what they mean in ``nn.Linear``.
    """
    if type(head) is nn.Sequential and len(head) == 1 and not _has_hooks(head):
        head = head[0]
    # A subclass may compute something else, and a hook wants to be called.
    if type(head) is nn.Linear or (isinstance(head, nn.Module) and getattr(head, "additive", False)):
        if _has_hooks(head):
            return None
        weight: Any = head.weight
        bias: Any = head.bias
        return Linear(weight, bias)
    return None


def fusible_heads(
    head: Linear, unimodal_heads: Iterable[nn.Module], features: list[Tensor], modalities: Modalities, num_classes: int
) -> list[Linear] | None:
    """Return the unimodal heads where all is linear and in one full precision, as the fused step wants it, or None."""
    if under_autocast(features[0]):
        return None
    unimodal = [additive_parameters(each) for each in unimodal_heads]
    found = [each for each in unimodal if each is not None]
    dtypes = {x.dtype for x in (head.weight, *features, *(each.weight for each in found))}
    full = dtypes in ({torch.float32}, {torch.float64})
    if not full or len(found) < len(unimodal) or any(feature.ndim != 2 for feature in features):
        return None
    for m, (each, feature) in enumerate(zip(found, features, strict=True)):
        if each.weight.shape != (num_classes, feature.shape[1]):
            name = f"weight of the unimodal head of {modalities.title(m)}"
            check_shape(name, each.weight, (num_classes, feature.shape[1]), "(C, D)")
    return found


def additive_logits(
    head: Linear, features: Sequence[Tensor], sources: Tensor, absent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the logits of the aligned samples (B, C) and of the mixed ones (V, B, C): b + sum_m f^m[S[m, i]] W_m.

    Each partial product f^m W_m is computed once. What is absent, a mask of shape (M, V, B), adds nothing.
    """
    parts = [functional.linear(f, w) for f, w in zip(features, _columns_of(head.weight, features), strict=True)]
    return _sums_of_parts(parts, head.bias, sources, absent)


def stacked_logits(
    head: Linear,
    unimodal_heads: Sequence[Linear],
    features: Sequence[Tensor],
    sources: Tensor,
    absent: Tensor | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the unimodal logits too, from one product of each feature with both of its weights."""
    unimodal, parts = [], []
    for f, unimodal_head, columns in zip(features, unimodal_heads, _columns_of(head.weight, features), strict=True):
        logits, part = functional.linear(f, torch.cat([unimodal_head.weight, columns])).chunk(2, dim=1)
        unimodal.append(logits if unimodal_head.bias is None else logits + unimodal_head.bias)
        parts.append(part)
    return unimodal, *_sums_of_parts(parts, head.bias, sources, absent)


def _columns_of(weight: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split the weight of an additive head by modality."""
    return torch.split_with_sizes(weight, [f.shape[1] for f in features], dim=1)


def _sums_of_parts(
    parts: list[Tensor], bias: Tensor | None, sources: Tensor, absent: Tensor | None
) -> tuple[Tensor, Tensor]:
    # The bias rides on the first product, unless that may be absent.
    if bias is not None and absent is None:
        parts = [parts[0] + bias, *parts[1:]]

    def row(m: int, v: int) -> Tensor:
        taken = parts[m].index_select(0, sources[m, v])
        return taken if absent is None else taken.masked_fill(absent[m, v][:, None], 0.0)

    aligned = reduce(add, parts)
    mixed = torch.stack([reduce(add, [row(m, v) for m in range(len(parts))]) for v in range(VIEWS)])
    if bias is not None and absent is not None:
        aligned, mixed = aligned + bias, mixed + bias
    return aligned, mixed


def unimodal_logits(
    heads: Iterable[nn.Module], features: list[Tensor], modalities: Modalities, num_classes: int
) -> list[Tensor]:
    """Run the unimodal heads, and raise unless each returns logits of shape (B, C)."""
    logits = []
    for m, (head, feature) in enumerate(zip(heads, features, strict=True)):
        logits.append(head(feature))
        check_logits(f"unimodal head of {modalities.title(m)}", logits[-1], leaves(feature)[0].shape[0], num_classes)
    return logits


def may_stack(head: Any) -> bool:
    """Return whether the aligned and the mixed samples may go through the head in one batch."""
    # What a plain callable holds cannot be seen.
    return isinstance(head, nn.Module) and not any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) for part in head.modules()
    )


def fused_logits(
    run: Callable[[list[Tensor]], Tensor],
    features: list[Tensor],
    sources: Tensor,
    absent: Tensor | None = None,
    *,
    stack: bool,
) -> list[Tensor]:
    """Run a head on the aligned and on the mixed samples, in one batch or in two; zeros stand for what is absent.

    Returns
    -------
    list of tensors
        Together the logits of all rows: of B aligned and of V * B mixed samples.
    """
    rows, lost = sources.flatten(1), None if absent is None else absent.flatten(1)
    if stack:
        aligned = torch.arange(sources.shape[2], device=sources.device).expand(len(rows), -1)
        rows = torch.cat([aligned, rows], dim=1)
        lost = None if lost is None else torch.cat([torch.zeros_like(aligned, dtype=torch.bool), lost], dim=1)
    taken = [
        map_leaves(partial(torch.index_select, dim=0, index=row), x) for x, row in zip(features, rows, strict=True)
    ]
    if lost is not None:
        taken = [clear_rows(x, lost[m], BACKEND) for m, x in enumerate(taken)]
    return [run(taken)] if stack else [run(features), run(taken)]


def by_kind(logits: Sequence[Tensor], batch: int) -> tuple[Tensor, Tensor]:
    """Return the logits of the aligned samples, shape (B, C), and of the mixed ones, shape (V, B, C)."""
    aligned, mixed = logits[0].tensor_split([batch]) if len(logits) == 1 else logits
    return aligned, mixed.reshape(VIEWS, -1, mixed.shape[-1])


def _has_hooks(module: nn.Module) -> bool:
    own = vars(module)
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    # Some tools replace the forward method of an instance, to the same end.
    return any(own.get(kind) for kind in kinds) or "forward" in own
