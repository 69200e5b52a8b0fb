"""What the parts of the fused step pass to one another."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from midas_core.alpha import MidasState


class Linear(NamedTuple):
    """A linear map, as in ``nn.Linear``: weight (C, D), bias (C,) or None."""

    weight: Tensor
    bias: Tensor | None


class Plan(NamedTuple):
    """What a fused step takes beside the tensors that are differentiated.

    Attributes
    ----------
    labels : Tensor, shape (B,), int64
    sources : Tensor, shape (M, V, B), int64
    classes : Tensor, shape (M, V, B), int64
        The class that each modality speaks for.
    mask : Tensor, shape (V, B), bool
        The mixed samples that count.
    state : MidasState
    options : dict
        eta, variant, alpha_update, max_alpha and reduce, as `midas_core.objective.weigh_pairs` takes them.
    similarity : {"cosine", "l2", None}
    weight : float
        lambda.
    mean : bool
        Whether the losses are averaged over the batch, or summed.
    """

    labels: Tensor
    sources: Tensor
    classes: Tensor
    mask: Tensor
    state: MidasState
    options: dict[str, Any]
    similarity: str | None
    weight: float
    mean: bool

    @property
    def scale(self) -> float:
        """What the loss of one sample counts."""
        return 1 / self.labels.shape[0] if self.mean else 1.0

    @property
    def unimodal_scale(self) -> float:
        """The same for one unimodal classifier: the authors' code averages them."""
        return self.scale / (self.sources.shape[0] if self.options["variant"] == "official" else 1)


class Losses(NamedTuple):
    """The losses of a step: total, aligned, misaligned of shape (), unimodal of shape (M,)."""

    total: Tensor
    aligned: Tensor
    unimodal: Tensor
    misaligned: Tensor
