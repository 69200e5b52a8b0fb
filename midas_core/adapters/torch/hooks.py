"""Looking on while a criterion works: what it was given, and the terms that it found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from midas_core.objective import MidasTerms


class Step(NamedTuple):
    """One call of a criterion.

    Attributes
    ----------
    criterion : nn.Module
    features : list, tuple or dict of M tensors, as given
    labels : Tensor, shape (B,)
    head : callable
    terms : MidasTerms
        Reduced as the criterion reduces them.
    present : Tensor, shape (B, M), bool, or None
        Which modalities each sample has; None where all have all.
    """

    criterion: Any
    features: Any
    labels: Tensor
    head: Callable[..., Tensor]
    terms: MidasTerms
    present: Tensor | None = None


class Watched:
    """A criterion that tells others of its steps."""

    _terms_hooks: OrderedDict[int, Callable[[Step], None]] | None = None

    def register_terms_hook(self, hook: Callable[[Step], None]) -> RemovableHandle:
        """Have a function called after every step, in training and in evaluation.

        Under ``torch.compile`` the graph ends there; ``fullgraph=True`` allows no hooks.

        Parameters
        ----------
        hook : callable
            Of a `Step`. What it keeps it should detach.

        Returns
        -------
        handle
            Its ``remove()`` ends it.
        """
        hooks = self._terms_hooks = OrderedDict() if self._terms_hooks is None else self._terms_hooks
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    @torch.compiler.disable
    def _tell(self, step: Step) -> None:
        for hook in list((self._terms_hooks or {}).values()):
            hook(step)
