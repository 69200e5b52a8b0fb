"""MIDAS, by the core of this library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from benchmarks.accuracy.methods.base import Batch, Method, Model, Setup
from midas_core import MidasState, Pairs, draw_pairs, midas_objective, mix, similarity
from midas_core.backends import get_backend
from midas_core.partners import random_count, split_draw


class Midas(Method):
    """MIDAS (Hwang, Choi, Whang, NeurIPS 2025), eq. 11: CE(z, y) + sum_m CE(z^m, y) + weight * L_mis.

    The core's own functions, `torch.func.vmap` over the K models; ``docs/method.md`` has their choices.

    Parameters
    ----------
    setup : Setup
    warmup_epochs : int
        Epochs in which the loss is the unimodal one alone.
    **options
        Further options of `midas_core.midas_objective`: eta, max_alpha, ...
    """

    title = "MIDAS"
    strengths = (1.0, 2.0, 5.0)
    strength_name = "weight"
    trains_unimodal_heads = True
    absent_share: ClassVar[float] = 0.0

    def __init__(self, setup: Setup, *, warmup_epochs: int = 0, **options: Any) -> None:
        super().__init__(setup)
        models, self.count = len(setup.strength), len(setup.feature_dims)
        self.warmup_epochs, self.options = warmup_epochs, options
        device = setup.strength.device
        self.state = MidasState(
            torch.ones(models, self.count, device=device), torch.zeros(models, dtype=torch.int64, device=device)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return alpha and the number of its steps."""
        return self.state._asdict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the alpha that `state_dict` returned."""
        self.state = MidasState(**state)

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the total of eq. 11."""
        return self.objective(model, model.features(batch.inputs), batch)

    def objective(self, model: Model, features: list[Tensor], batch: Batch) -> Tensor:
        """Return the total of eq. 11 for features that are there already, and move alpha."""
        pairs = self.draw(batch.labels)
        mixed = None
        if batch.epoch >= self.warmup_epochs:
            mixed = self._mixed_logits(model, features, pairs)
        alike = vmap(lambda f, s: similarity(f, s))(features, pairs.sources)
        given = (self.strength, model.fuse(features), model.unimodal(features), mixed, batch.labels)
        more = self.more(batch)
        inside = (0, 0, 0, None if mixed is None else 0, 0, 0, 0, 0, None if more is None else 0)
        there = tuple(x for x in pairs if x is not None)
        loss, state = vmap(self.total, in_dims=inside)(*given, there, alike, tuple(self.state), more)
        self.state = MidasState(*(x.detach() for x in state))
        return loss

    def more(self, batch: Batch) -> Tensor | None:
        """Return what a variant gives to `total` for each model, shape (K, ...)."""
        return None

    def total(
        self,
        weight: Any,
        fused: Tensor,
        own: list[Tensor],
        mixed: Tensor | None,
        labels: Tensor,
        pairs: tuple[Tensor, ...],
        alike: Tensor,
        state: tuple[Tensor, Tensor],
        more: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss of one model, and its state for the next step."""
        before = MidasState(*state)
        found = midas_objective(fused, own, mixed, labels, Pairs(*pairs), alike, before, weight=weight, **self.options)
        return found.terms.total.mean(), tuple(found.state)

    def draw(self, labels: Tensor) -> Pairs:
        """Return who is mixed with whom, a leading axis K on everything."""
        share = self.absent_share
        numbers = self.random.uniform(random_count(labels.shape[1], self.count, share > 0))
        backend = get_backend(labels)

        def pairs(numbers: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            drawn = split_draw(numbers, labels, self.count, share > 0, backend=backend)
            found = draw_pairs(drawn, labels, self.count, absent_share=share)
            return tuple(x for x in found if x is not None)

        return Pairs(*vmap(pairs)(numbers, labels))

    @staticmethod
    def _mixed_logits(model: Model, features: list[Tensor], pairs: Pairs) -> Tensor:
        # (K, V, B, D), both versions in one call of the head.
        if pairs.absent is None:
            mixed = vmap(lambda f, s: mix(f, s))(features, pairs.sources)
        else:
            mixed = vmap(lambda f, s, a: mix(f, s, absent=a))(features, pairs.sources, pairs.absent)
        versions, batch = mixed[0].shape[1:3]
        return model.fuse([x.flatten(1, 2) for x in mixed]).unflatten(1, (versions, batch))
