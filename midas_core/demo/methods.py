"""The methods of the demo. Each is a criterion on the same encoders and the same fused head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from midas_core.adapters.torch import MidasLoss


class JointLoss(nn.Module):
    """Cross-entropy of the fused head: joint training, or one modality alone where there is only one."""

    def forward(self, features: list[Tensor], labels: Tensor, *, head: nn.Module) -> Tensor:
        """Return the loss, a scalar."""
        return cross_entropy(head(torch.cat(features, dim=1)), labels)


class UnimodalLosses(nn.Module):
    """Cross-entropy of the fused head plus that of a linear head on each modality.

    Parameters
    ----------
    feature_dims : sequence of int
    num_classes : int
    weight : float
        Of the sum of the unimodal losses.
    """

    def __init__(self, feature_dims: Sequence[int], num_classes: int, *, weight: float = 1.0) -> None:
        super().__init__()
        self.unimodal_heads = nn.ModuleList(nn.Linear(width, num_classes) for width in feature_dims)
        self.weight = weight

    def forward(self, features: list[Tensor], labels: Tensor, *, head: nn.Module) -> Tensor:
        """Return the loss, a scalar."""
        loss = cross_entropy(head(torch.cat(features, dim=1)), labels)
        for unimodal_head, feature in zip(self.unimodal_heads, features, strict=True):
            loss = loss + self.weight * cross_entropy(unimodal_head(feature), labels)
        return loss


class ModalityDropout(nn.Module):
    """Cross-entropy of the fused head, with the features of one modality set to zero in some of the samples.

    Parameters
    ----------
    probability : float
        That a sample loses a modality, any of them with the same chance.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, features: list[Tensor], labels: Tensor, *, head: nn.Module) -> Tensor:
        """Return the loss, a scalar."""
        # Below 1: the modality floor(M * u / p) is lost. Above: none is.
        lost = (torch.rand(len(labels)) / self.probability * len(features)).floor()
        kept = [feature * (lost != m)[:, None] for m, feature in enumerate(features)]
        return cross_entropy(head(torch.cat(kept, dim=1)), labels)


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes
    ----------
    key : str
        In settings and results.
    title : str
        In the table.
    criterion : callable
        From the feature widths, the number of classes and the strength to the loss.
    strengths : tuple of float
        What ``midas demo --tune`` tries for the method's own hyperparameter; empty where it has none.
    strength_name : str
        What that hyperparameter is.
    only : int, optional
        The one modality that is trained.
    """

    key: str
    title: str
    criterion: Callable[[Sequence[int], int, float], nn.Module]
    strengths: tuple[float, ...] = ()
    strength_name: str = ""
    only: int | None = None


LATE_FUSION = "late fusion"

FUSED = (
    Method("joint", "joint", lambda widths, classes, _: JointLoss()),
    Method(
        "joint + unimodal",
        "joint + unimodal losses",
        lambda widths, classes, weight: UnimodalLosses(widths, classes, weight=weight),
        (0.5, 1.0, 2.0),
        "weight",
    ),
    Method(
        "joint + dropout",
        "joint + modality dropout",
        lambda widths, classes, probability: ModalityDropout(probability=probability),
        (0.25, 0.5, 0.75),
        "probability",
    ),
    Method(
        "MIDAS",
        "MIDAS",
        lambda widths, classes, weight: MidasLoss(num_classes=classes, feature_dims=widths, weight=weight),
        (1.0, 2.0, 5.0),
        "weight",
    ),
)


def alone(modalities: Sequence[str]) -> tuple[Method, ...]:
    """Return the methods that train on one modality each."""
    return tuple(
        Method(f"{name} alone", f"{name} alone", lambda widths, classes, _: JointLoss(), only=m)
        for m, name in enumerate(modalities)
    )
