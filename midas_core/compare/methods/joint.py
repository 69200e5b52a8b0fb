"""Joint training, with unimodal losses, and with the common regularizers that any rival has to beat."""

from __future__ import annotations

from torch import Tensor

from midas_core.compare.methods.base import Method, add_unimodal, cross_entropy, row
from midas_core.compare.stack import Batch, Model


class Joint(Method):
    """The cross-entropy of the fused head: what everybody does first."""

    title = "joint"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        return cross_entropy(model.fuse(model.features(batch.inputs)), batch.labels)


class LabelSmoothing(Method):
    """The cross-entropy with a share e of each label on all classes: (1 - e) * CE(z, y) + e / C * sum_c CE(z, c)."""

    title = "joint + label smoothing"
    strengths = (0.0, 0.1, 0.3)
    strength_name = "label_smoothing"
    simple = True
    call = "torch.nn.CrossEntropyLoss(label_smoothing={strength:g})"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        return cross_entropy(model.fuse(model.features(batch.inputs)), batch.labels, self.strength)


class WeightDecay(Joint):
    """Joint training with a penalty on the weights, as ``weight_decay`` of `torch.optim.Adam`."""

    title = "joint + weight decay"
    strengths = (0.0, 3e-4, 3e-3)
    strength_name = "weight_decay"
    simple = True
    call = "torch.optim.Adam(..., weight_decay={strength:g})"

    def after_backward(self, model: Model) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                row(parameter.grad).add_(row(parameter.detach()) * self.strength[:, None])


class FeatureDropout(Method):
    """Joint training with dropout on the features before they are fused."""

    title = "joint + dropout"
    strengths = (0.0, 0.25, 0.5)
    strength_name = "p"
    simple = True
    call = "torch.nn.Dropout({strength:g}) on the features"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        kept = 1 - self.strength[:, None, None]
        features = [x * (self.random.uniform(*x.shape[1:]) < kept) / kept for x in model.features(batch.inputs)]
        return cross_entropy(model.fuse(features), batch.labels)


class JointUnimodal(Method):
    """The cross-entropy of the fused head and of each unimodal head: CE(z, y) + weight * sum_m CE(z^m, y)."""

    title = "joint + unimodal"
    strengths = (0.5, 1.0, 2.0)
    strength_name = "weight"
    trains_unimodal_heads = True

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        loss = cross_entropy(model.fuse(features), batch.labels)
        return add_unimodal(loss, model.unimodal(features), batch.labels, self.strength)
