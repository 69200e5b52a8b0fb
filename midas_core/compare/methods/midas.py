"""MIDAS, by the core of this library."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from midas_core import MidasState, Pairs, draw_pairs, midas_objective, mix, similarity
from midas_core.backends import get_backend
from midas_core.compare.methods.base import Method, Setup, cross_entropy
from midas_core.compare.stack import Batch, Model
from midas_core.partners import random_count, split_draw


class Midas(Method):
    """MIDAS (Hwang, Choi, Whang, NeurIPS 2025), eq. 11: CE(z, y) + sum_m CE(z^m, y) + weight * L_mis.

    The functions of the core, `torch.func.vmap` over the K models; ``docs/method.md`` has their choices.
    """

    title = "MIDAS"
    strengths = (1.0, 2.0, 5.0)
    strength_name = "weight"
    call = "MidasLoss(weight={strength:g})"
    trains_unimodal_heads = True
    options: ClassVar[dict[str, Any]] = {}
    """Of `midas_core.midas_objective`."""
    aligned_share: ClassVar[float] = 0.0
    """Share of the epochs, the last ones, in which the loss is CE(z, y) alone."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        models, self.count = len(setup.strength), len(setup.feature_dims)
        self.aligned_from = setup.epochs - round(self.aligned_share * setup.epochs)
        self.state = MidasState(torch.ones(models, self.count), torch.zeros(models, dtype=torch.int64))

    @property
    def product_options(self) -> dict[str, Any]:
        """Options of `midas_core.adapters.torch.MidasLoss` for the same training, ``weight`` aside."""
        return {**self.options, "aligned_from": self.aligned_from} if self.aligned_share else dict(self.options)

    def loss(self, model: Model, batch: Batch) -> Tensor:
        return self.objective(model, model.features(batch.inputs), batch)

    def objective(self, model: Model, features: list[Tensor], batch: Batch) -> Tensor:
        """Return the total of eq. 11 of features, and move alpha; near the end the aligned term alone."""
        if batch.epoch >= self.aligned_from:
            # Unimodal heads take part with gradients of zero, as in the product.
            rest = torch.stack([z.sum(dim=(1, 2)) for z in model.unimodal(features)]).sum(dim=0)
            return cross_entropy(model.fuse(features), batch.labels) + 0 * rest
        pairs = self.draw(batch.labels)
        similarities = vmap(lambda f, s: similarity(f, s))(features, pairs.sources)
        mixed = vmap(lambda f, s: mix(f, s))(features, pairs.sources)
        versions, size = mixed[0].shape[1:3]
        # (K, V, B, C), all versions in one call of the head.
        logits = model.fuse([x.flatten(1, 2) for x in mixed]).unflatten(1, (versions, size))
        of_heads = (model.fuse(features), model.unimodal(features), logits)
        present = tuple(x for x in pairs if x is not None)
        inputs = (of_heads, batch.labels, present, similarities, tuple(self.state), self.strength)
        loss, state = vmap(self._objective_of_one)(*inputs)
        self.state = MidasState(*(x.detach() for x in state))
        return loss

    def _objective_of_one(
        self, logits: Any, labels: Tensor, pairs: Any, similarities: Any, state: Any, weight: Any
    ) -> tuple[Tensor, Any]:
        """Return the loss of one model, and its state for the next step."""
        fused, unimodal, mixed = logits
        parts = (labels, Pairs(*pairs), similarities, MidasState(*state))
        result = midas_objective(fused, unimodal, mixed, *parts, weight=weight, **self.options)
        return result.terms.total.mean(), tuple(result.state)

    def draw(self, labels: Tensor) -> Pairs:
        """Return who is mixed with whom, a leading axis K on everything."""
        numbers = self.random.uniform(random_count(labels.shape[1], self.count))
        backend = get_backend(labels)

        def pairs(numbers: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            drawn = split_draw(numbers, labels, self.count, backend=backend)
            return tuple(x for x in draw_pairs(drawn, labels, self.count) if x is not None)

        return Pairs(*vmap(pairs)(numbers, labels))


class MidasEven(Midas):
    """MIDAS without the weak-modality weight of eq. 7: alpha stays 1."""

    title = "MIDAS (eta 0)"
    call = "MidasLoss(weight={strength:g}, eta=0)"
    options: ClassVar[dict[str, Any]] = {"eta": 0.0}


class MidasFinish(Midas):
    """MIDAS whose last quarter of the epochs trains CE(z, y) alone, an aligned finish. Ours, not the paper's."""

    title = "MIDAS + finish"
    call = "MidasLoss(weight={strength:g}, aligned_from=...)"
    aligned_share = 0.25


class MidasEvenFinish(MidasFinish):
    """MIDAS without the weak-modality weight, and with the aligned finish. Ours, not the paper's."""

    title = "MIDAS (eta 0) + finish"
    call = "MidasLoss(weight={strength:g}, eta=0, aligned_from=...)"
    options: ClassVar[dict[str, Any]] = {"eta": 0.0}
