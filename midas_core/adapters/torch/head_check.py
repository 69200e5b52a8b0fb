"""Warns once if the unimodal heads do not learn, or differ between ranks."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.distributed import differ_between_ranks, is_sharded, norms

RANKS_AT = (1, 5, 50)
"""The steps in which the ranks are compared, counting those in which they synchronise anyway."""

LEARNT_BY = 100
"""The step by which the heads must have changed; gradients may be accumulated over fewer steps."""


class HeadCheck:
    """Checks the parameters of the unimodal heads in a few steps of a run; the other steps only count."""

    def __init__(self) -> None:
        self._steps = self._common = 0
        self._first: Tensor | None = None

    def see(self, heads: nn.Module, *, common: bool, stacklevel: int) -> None:
        """Take in a training step; ``common`` where all ranks take it."""
        self._steps += 1
        self._common += common
        compare = common and self._common in RANKS_AT
        if not compare and self._steps not in (1, LEARNT_BY):
            return
        # Of what is sharded or partitioned, each rank holds a part.
        known = [p.detach() for p in heads.parameters() if p.requires_grad and p.numel() and not is_sharded(p)]
        if not known:
            return
        with torch.no_grad():
            found = norms(known)
        if compare and differ_between_ranks(found):
            self._common = max(RANKS_AT)
            warnings.warn(
                "the unimodal heads differ between ranks: their gradients are not averaged. Make the criterion a part "
                "of the module that is wrapped (its forward calls it and returns the loss), or wrap the criterion too.",
                stacklevel=stacklevel,
            )
        if self._steps == 1:
            self._first = found
        elif self._steps == LEARNT_BY and self._first is not None and self._first.shape == found.shape:
            pending = any(p.grad is not None for p in heads.parameters())
            if pending and torch.equal(self._first, found):
                warnings.warn(
                    f"the unimodal heads have not changed in {LEARNT_BY} steps: give criterion.parameters() to the "
                    "optimizer too.",
                    stacklevel=stacklevel,
                )
            self._first = None
