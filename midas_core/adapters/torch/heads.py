"""How the heads of a step are run: from partial products where a head begins additively, else on all rows.

An additive head is linear on the concatenated features, z = b + sum_m f^m W_m. Its partial products f^m W_m are
computed once: the logits of the aligned and of the mixed samples are sums of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as global_hooks

from midas_core.adapters.torch.inputs import check_logits
from midas_core.backends.torch import BACKEND, under_autocast
from midas_core.modalities import Modalities, leaves, map_leaves
from midas_core.pairing import Pairs, clear_rows
from midas_core.partners import VIEWS
from midas_core.validation import check_shape

FEW_CLASSES = 128
"""Up to which a compiled step stacks the products of a feature: beyond, copying the weights costs more."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Linear(NamedTuple):
    """A linear map, as in ``nn.Linear``: weight (C, D), bias (C,) or None."""

    weight: Tensor
    bias: Tensor | None


class HeadLogits(NamedTuple):
    """Logits of a step: M unimodal (B, C), aligned (B, C), mixed in one block (V * B, C), in V blocks, or None."""

    unimodal: list[Tensor]
    aligned: Tensor
    mixed: list[Tensor] | None


Beginning = tuple[Linear, list[nn.Module]]
"""The additive layer that a head begins with, and the layers after it."""


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


def additive_beginning(head: Any) -> Beginning | None:
    """Return the additive layer that a head begins with, and the layers after it; None where there is none."""
    additive = additive_parameters(head)
    if additive is not None:
        return additive, []
    if type(head) is nn.Sequential and len(head) > 1 and not _has_hooks(head) and type(head[0]) is nn.Linear:
        first = additive_parameters(head[0])
        return None if first is None else (first, list(head)[1:])
    return None


def check_additive(beginning: Beginning, features: Sequence[Tensor], num_classes: int) -> None:
    """Raise ``ValueError`` unless the additive layer that a head begins with takes the concatenated features."""
    first, rest = beginning
    outputs = first.weight.shape[0] if rest else num_classes
    check_shape("weight of the head", first.weight, (outputs, sum(x.shape[1] for x in features)), "(C, D)")


def head_logits(
    head: Callable[..., Tensor],
    beginning: Beginning | None,
    unimodal_heads: Iterable[nn.Module],
    features: list[Any],
    pairs: Pairs,
    *,
    run: Callable[[list[Any]], Tensor],
    modalities: Modalities,
    num_classes: int,
) -> HeadLogits:
    """Run every head of a step; ``run`` calls the fused one, of this additive beginning, on a list of features."""
    if beginning is None:
        unimodal = unimodal_logits(unimodal_heads, features, modalities, num_classes)
        return HeadLogits(unimodal, *fused_logits(head, run, features, pairs))
    first, rest = beginning
    if not rest and torch.compiler.is_compiling() and num_classes <= FEW_CLASSES:
        linear = fusible_heads(first, unimodal_heads, features, modalities, num_classes)
        if linear is not None:
            return HeadLogits(*stacked_logits(first, linear, features, pairs))
    unimodal = unimodal_logits(unimodal_heads, features, modalities, num_classes)
    aligned, mixed = additive_logits(first, features, pairs)
    if not rest:
        return HeadLogits(unimodal, aligned, mixed)
    batch = aligned.shape[0]
    if all(map(may_stack, rest)):
        logits = _in_order(rest, torch.cat([aligned, *mixed]))
        check_logits("head", logits, (1 + VIEWS) * batch, num_classes)
        aligned, together = logits.split_with_sizes([batch, VIEWS * batch])
    else:
        aligned = _in_order(rest, aligned)
        check_logits("head", aligned, batch, num_classes)
        with statistics_left_alone(rest):
            together = _in_order(rest, torch.cat(mixed))
    return HeadLogits(unimodal, aligned, [together])


def additive_logits(head: Linear, features: Sequence[Tensor], pairs: Pairs) -> tuple[Tensor, list[Tensor]]:
    """Return b + sum_m f^m W_m of the aligned samples (B, C) and, in V blocks (B, C), of the mixed ones.

    Modalities that are absent add nothing.
    """
    # The bias rides on the first product, unless that may be absent.
    biases = [head.bias if m == 0 and pairs.absent is None else None for m in range(len(features))]
    columns = _columns_of(head.weight, features)
    return _sums_of_parts(list(map(functional.linear, features, columns, biases)), head.bias, pairs)


def stacked_logits(
    head: Linear, unimodal_heads: Sequence[Linear], features: Sequence[Tensor], pairs: Pairs
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Return the unimodal logits too, from one product of each feature with both of its weights."""
    unimodal, parts = [], []
    for f, unimodal_head, columns in zip(features, unimodal_heads, _columns_of(head.weight, features), strict=True):
        logits, part = functional.linear(f, torch.cat([unimodal_head.weight, columns])).chunk(2, dim=1)
        unimodal.append(logits if unimodal_head.bias is None else logits + unimodal_head.bias)
        parts.append(part)
    if head.bias is not None and pairs.absent is None:
        parts[0] = parts[0] + head.bias
    return unimodal, *_sums_of_parts(parts, head.bias, pairs)


def _columns_of(weight: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Split the weight of an additive head by modality."""
    return torch.split_with_sizes(weight, [f.shape[1] for f in features], dim=1)


def _sums_of_parts(parts: list[Tensor], bias: Tensor | None, pairs: Pairs) -> tuple[Tensor, list[Tensor]]:
    absent, sources = pairs.absent, pairs.sources.flatten(0, 1).unbind()

    def rows(m: int, v: int) -> Tensor:
        # Of two modalities, version m keeps modality m of sample i.
        kept = len(parts) == 2 and m == v
        taken = parts[m] if kept else parts[m].index_select(0, sources[m * VIEWS + v])
        return taken if absent is None else taken.masked_fill(absent[m, v][:, None], 0.0)

    aligned = reduce(add, parts)
    mixed = [reduce(add, [rows(m, v) for m in range(len(parts))]) for v in range(VIEWS)]
    if bias is not None and absent is not None:
        aligned, mixed = aligned + bias, [z + bias for z in mixed]
    return aligned, mixed


def _in_order(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def fusible_heads(
    head: Linear, unimodal_heads: Iterable[nn.Module], features: list[Tensor], modalities: Modalities, num_classes: int
) -> list[Linear] | None:
    """Return the unimodal heads where all is linear and of one full precision, as stacking wants it, or None."""
    if under_autocast(features[0]):
        return None
    unimodal = [additive_parameters(x) for x in unimodal_heads]
    linear = [x for x in unimodal if x is not None]
    dtypes = {x.dtype for x in (head.weight, *features, *(x.weight for x in linear))}
    full = dtypes in ({torch.float32}, {torch.float64})
    if not full or len(linear) < len(unimodal) or any(feature.ndim != 2 for feature in features):
        return None
    for m, (x, feature) in enumerate(zip(linear, features, strict=True)):
        if x.weight.shape != (num_classes, feature.shape[1]):
            name = f"weight of the unimodal head of {modalities.title(m)}"
            check_shape(name, x.weight, (num_classes, feature.shape[1]), "(C, D)")
    return linear


def unimodal_logits(
    heads: Iterable[nn.Module], features: list[Any], modalities: Modalities, num_classes: int
) -> list[Tensor]:
    """Run the unimodal heads, and raise unless each returns logits of shape (B, C)."""
    logits = []
    for m, (head, feature) in enumerate(zip(heads, features, strict=True)):
        logits.append(head(feature))
        check_logits(f"unimodal head of {modalities.title(m)}", logits[-1], leaves(feature)[0].shape[0], num_classes)
    return logits


def may_stack(head: Any) -> bool:
    """Return whether the aligned and the mixed samples may go through the head in one batch."""
    # The content of a plain callable cannot be seen.
    return isinstance(head, nn.Module) and not any(
        isinstance(x, nn.modules.batchnorm._BatchNorm) or _keeps_statistics(x) for x in head.modules()
    )


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats and module.training


@contextmanager
def statistics_left_alone(modules: Iterable[Any]) -> Iterator[None]:
    """Keep mixed samples out of the running statistics of batch normalisation; a batch is normalised by its own."""
    parts = [x for module in modules if isinstance(module, nn.Module) for x in module.modules()]
    tracking: list[Any] = [x for x in parts if _keeps_statistics(x)]
    for x in tracking:
        x.track_running_stats = False
    try:
        yield
    finally:
        for x in tracking:
            x.track_running_stats = True


def fused_logits(
    head: Any, run: Callable[[list[Any]], Tensor], features: list[Any], pairs: Pairs
) -> tuple[Tensor, list[Tensor]]:
    """Run a head on the aligned and on the mixed samples, in one batch or in two; zeros stand for what is absent."""
    sources, absent = pairs.sources.flatten(1), None if pairs.absent is None else pairs.absent.flatten(1)
    batch, stack = pairs.sources.shape[2], may_stack(head)
    if stack:
        aligned = torch.arange(batch, device=sources.device).expand(len(sources), -1)
        sources = torch.cat([aligned, sources], dim=1)
        absent = None if absent is None else torch.cat([torch.zeros_like(aligned, dtype=torch.bool), absent], dim=1)
    taken = [
        map_leaves(partial(torch.index_select, dim=0, index=rows), x) for x, rows in zip(features, sources, strict=True)
    ]
    if absent is not None:
        taken = [clear_rows(x, absent[m], BACKEND) for m, x in enumerate(taken)]
    if stack:
        aligned, mixed = run(taken).split_with_sizes([batch, VIEWS * batch])
        return aligned, [mixed]
    aligned = run(features)
    with statistics_left_alone([head]):
        return aligned, [run(taken)]


def _has_hooks(module: nn.Module) -> bool:
    attributes = vars(module)
    # Some tools replace the forward method of an instance, to the same end; hooks of all modules are kept apart.
    return "forward" in attributes or any(attributes.get(kind) for kind in HOOKS) or global_hooks._has_any_global_hook()
