"""Joint training, alone and with unimodal losses."""

from __future__ import annotations

from torch import Tensor

from benchmarks.accuracy.methods.base import Batch, Method, Model, cross_entropy


class Joint(Method):
    """The cross-entropy of the fused head: what everybody does first."""

    title = "joint"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return CE(z, y)."""
        return cross_entropy(model.fuse(model.features(batch.inputs)), batch.labels)


class JointUnimodal(Method):
    """The cross-entropy of the fused head plus that of each unimodal head: CE(z, y) + weight * sum_m CE(z^m, y)."""

    title = "joint + unimodal"
    strengths = (0.5, 1.0, 2.0)
    strength_name = "weight"
    trains_unimodal_heads = True

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return CE(z, y) + weight * sum_m CE(z^m, y)."""
        features = model.features(batch.inputs)
        loss = cross_entropy(model.fuse(features), batch.labels)
        for logits in model.unimodal(features):
            loss = loss + self.strength * cross_entropy(logits, batch.labels)
        return loss
