"""The interface of every method of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from midas_core.compare.stack import Batch, Model, Random, StackedSplit


@dataclass(frozen=True)
class Setup:
    """The task and the settings of K models that a method trains; it draws all its random numbers from ``random``."""

    num_classes: int
    feature_dims: list[int]  # M
    strength: Tensor  # (K,), the method's one hyperparameter
    random: Random
    epochs: int


class Method:
    """A way to train: the losses, and what it changes around them.

    A subclass gives `loss` and, where its paper needs them, the other hooks. Its docstring has the paper and its
    equation; the choices that the paper leaves stand in ``docs/neighbours.md``.
    """

    title: ClassVar[str]
    """In tables, and on the command line."""
    strengths: ClassVar[tuple[float, ...]] = ()
    """Tried for its one hyperparameter; empty where it has none. 0, where it is among them, is joint training."""
    strength_name: ClassVar[str] = ""
    call: ClassVar[str] = ""
    """How to get it in PyTorch; empty where neither PyTorch nor this library has it."""
    simple: ClassVar[bool] = False
    """Whether it changes next to nothing in joint training: of methods that are equally good it is preferred."""
    trains_unimodal_heads: ClassVar[bool] = False
    """Whether the unimodal heads mean anything after training: the vote at prediction needs them."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.strength, self.random = setup, setup.strength, setup.random

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of each model, shape (K,)."""
        raise NotImplementedError

    def after_backward(self, model: Model) -> None:
        """Change the gradients of the parameters, in place, before the optimizer takes its step."""

    def order(self, model: Model, training: StackedSplit, epoch: int, order: Tensor) -> Tensor:
        """Return the order (K, N) in which an epoch goes through the samples, of a random one."""
        return order

    def logits(self, model: Model, features: Sequence[Tensor]) -> Tensor:
        """Return the logits that the method predicts with, shape (K, B, C); the model may be some of the stack."""
        return model.fuse(features)

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the method trains beside the model."""
        return []


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of each model, shape (K,), of logits (K, B, C) and labels (K, B).

    ``smoothing`` (K,) is the share of each label that goes to all classes alike.
    """
    if smoothing is None:
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(dim=1)
    logs = logits.log_softmax(dim=-1)
    of_label = logs.gather(2, labels[..., None])[..., 0].mean(dim=1)
    return -((1 - smoothing) * of_label + smoothing * logs.mean(dim=(1, 2)))


def add_unimodal(loss: Tensor, logits: Sequence[Tensor], labels: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Return loss + weight * sum_m CE(z^m, y), shape (K,), for unimodal logits, M of (K, B, C)."""
    for x in logits:
        loss = loss + weight * cross_entropy(x, labels)
    return loss


def row(parameter: Tensor) -> Tensor:
    """Return a stacked parameter or its gradient with a row for each model, a view of shape (K, n)."""
    return parameter.view(len(parameter), -1)


def alone(m: int, modality: str) -> type[Method]:
    """Return the method that trains on one modality by itself."""

    class Alone(Method):
        """The cross-entropy of one unimodal head: CE(z^m, y)."""

        title = f"{modality} alone"

        def loss(self, model: Model, batch: Batch) -> Tensor:
            return cross_entropy(model.unimodal_heads[m](model.encoders[m](batch.inputs[m])), batch.labels)

        def logits(self, model: Model, features: Sequence[Tensor]) -> Tensor:
            logits: Tensor = model.unimodal_heads[m](features[m])
            return logits

    return Alone
