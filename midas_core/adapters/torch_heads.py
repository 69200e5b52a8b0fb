"""How a fused head is run: from partial products where it is additive, stacked where it may be, else view by view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.kernels.plan import Linear
from midas_core.misalignment import VIEWS


def additive_parameters(head: Any) -> Linear | None:
    """Return weight and bias of a head that is linear on concatenated features, or None.

    That is ``nn.Linear``, a ``nn.Sequential`` of nothing else, or a module with a true attribute ``additive``, whose
    ``weight`` (C, D) and ``bias`` (C,) or None mean what they mean in ``nn.Linear``.
    """
    if type(head) is nn.Sequential and len(head) == 1 and not _has_hooks(head):
        head = head[0]
    # A subclass may compute something else, and a hook wants to be called.
    if type(head) is nn.Linear or (isinstance(head, nn.Module) and getattr(head, "additive", False)):
        weight: Any = head.weight
        bias: Any = head.bias
        return None if _has_hooks(head) else Linear(weight, bias)
    return None


def may_stack(head: Any) -> bool:
    """Return whether the aligned and the mixed samples may go through the head in one batch."""
    # What a plain callable holds cannot be seen.
    return isinstance(head, nn.Module) and not any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) for part in head.modules()
    )


def both_logits(
    run: Callable[[list[Tensor]], Tensor], features: list[Tensor], mixed: list[Tensor], *, stack: bool
) -> tuple[Tensor, Tensor]:
    """Run a head on the aligned and on the mixed samples, in one batch or in two.

    Returns
    -------
    aligned : Tensor, shape (B, C)
    mixed : Tensor, shape (V, B, C)
    """
    flat = [x.flatten(0, 1) for x in mixed]
    if stack:
        both = [torch.cat(pair) for pair in zip(features, flat, strict=True)]
        aligned, rest = run(both).tensor_split([features[0].shape[0]])
    else:
        aligned, rest = run(features), run(flat)
    return aligned, rest.unflatten(0, (VIEWS, -1))


def _has_hooks(module: nn.Module) -> bool:
    kinds = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(kinds)
