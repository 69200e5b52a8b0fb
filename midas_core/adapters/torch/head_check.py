"""Warns once if the unimodal heads do not learn, or differ between ranks."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.distributed import differ_between_ranks, is_sharded, norms
from midas_core.adapters.warn import warn_user

RANKS_AT = (1, 5, 50)
"""The steps in which the ranks are compared, counting those in which they synchronise anyway."""

LEARNT_BY = 20
"""Steps of the optimizer by which the heads must have changed, unless an epoch ends before."""


class HeadCheck:
    """Checks the unimodal heads in a few steps of a run; ``made`` by the criterion, they start from random numbers."""

    def __init__(self, made: bool) -> None:
        self.made = made
        self._steps = self._common = self._updates = self._version = 0
        self._first: Tensor | None = None
        self._fused_first: Tensor | None = None
        self._fused: weakref.ref[Tensor] | None = None

    def see(self, heads: nn.Module, head: Any, *, common: bool) -> None:
        """Take in a training step, with the fused head; ``common`` where all ranks take it."""
        self._steps += 1
        if self._steps == 1:
            self._begin(heads, head)
        self._count_updates()
        if self._updates >= LEARNT_BY:
            self._check_learning(heads)
        self._common += common
        if common and self._common in RANKS_AT:
            self._check_ranks(heads)

    def end_epoch(self, heads: nn.Module) -> None:
        """Check what an epoch has changed, if it has changed the fused head; a learning rate may begin at 0."""
        self._count_updates()
        fused = None if self._fused is None else self._fused()
        if self._first is None or fused is None or self._fused_first is None or not self._updates:
            return
        if not torch.equal(norms([fused]), self._fused_first):
            self._check_learning(heads)

    def _begin(self, heads: nn.Module, head: Any) -> None:
        if self.made and not any(p.requires_grad for p in heads.parameters()):
            warn_user(
                "the unimodal heads, which the criterion made, stay at their first values (requires_grad=False). Let "
                "them train (with PEFT: modules_to_save=['criterion']), or pass trained heads as unimodal_heads=."
            )
        if known := _whole(heads):
            self._first = norms(known)
        fused = _module_of(head)
        if fused is not None and (known := _whole(fused)):
            self._fused, self._version = weakref.ref(known[-1]), known[-1]._version
            self._fused_first = norms(known[-1:])

    def _count_updates(self) -> None:
        """Count a step of the optimizer where a parameter of the fused head has been written to."""
        if self._first is None:
            return
        fused = None if self._fused is None else self._fused()
        if fused is not None and fused._version != self._version:
            self._updates, self._version = self._updates + 1, fused._version

    def _check_learning(self, heads: nn.Module) -> None:
        first, self._first = self._first, None
        if first is None:
            return
        now = norms(_whole(heads))
        if first.shape == now.shape and torch.equal(first, now):
            steps = "one step" if self._updates == 1 else f"{self._updates} steps"
            warn_user(
                f"the unimodal heads have not changed in {steps} of the optimizer: give criterion.parameters() to it."
            )

    def _check_ranks(self, heads: nn.Module) -> None:
        if (known := _whole(heads)) and differ_between_ranks(norms(known)):
            self._common = max(RANKS_AT)
            warn_user(
                "the unimodal heads differ between ranks: their gradients are not averaged. Make the criterion a part "
                "of the module that is wrapped (its forward calls it and returns the loss), or wrap the criterion too."
            )

    def __reduce__(self) -> tuple[type[HeadCheck], tuple[bool]]:
        return HeadCheck, (self.made,)


def _whole(module: nn.Module) -> list[Tensor]:
    """Return the trained parameters. Of what is sharded or partitioned, each rank holds a part."""
    return [p for p in module.parameters() if p.requires_grad and p.numel() and not is_sharded(p)]


def _module_of(head: Any) -> nn.Module | None:
    """Return the module that a callable runs: itself, a bound method's, or the first one in a closure."""
    candidates = [head, getattr(head, "__self__", None)]
    for cell in getattr(head, "__closure__", None) or ():
        with suppress(ValueError):  # an empty one
            candidates.append(cell.cell_contents)
    return next((x for x in candidates if isinstance(x, nn.Module)), None)
