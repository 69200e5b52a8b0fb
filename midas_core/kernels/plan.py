"""What the parts of a step by hand pass to one another."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from midas_core.cross_entropy import Targets
from midas_core.pairing import Pairs
from midas_core.weighting import MidasState


class Linear(NamedTuple):
    """A linear map, as in ``nn.Linear``: weight (C, D), bias (C,) or None."""

    weight: Tensor
    bias: Tensor | None


class Plan(NamedTuple):
    """What a step takes beside the tensors that are differentiated.

    Attributes
    ----------
    targets : Targets
        One class for each sample.
    pairs : Pairs
    state : MidasState
    options : dict
        eta, variant, alpha_update, max_alpha and reduce, as `midas_core.weighting.weigh_pairs` takes them.
    similarity : {"cosine", "l2", None}
    weight : float
        lambda.
    mean : bool
        Whether the losses are averaged over the batch, or summed.
    present : Tensor, shape (B, M), bool, or None
    """

    targets: Targets
    pairs: Pairs
    state: MidasState
    options: dict[str, Any]
    similarity: str | None
    weight: float
    mean: bool
    present: Tensor | None = None

    @property
    def labels(self) -> Any:
        """Of the samples, shape (B,), int64."""
        return self.targets.labels

    @property
    def label_smoothing(self) -> float:
        """Of every cross-entropy."""
        return self.targets.label_smoothing or 0.0

    @property
    def scale(self) -> float:
        """What the loss of one sample counts."""
        return 1 / self.labels.shape[0] if self.mean else 1.0

    @property
    def unimodal_factor(self) -> float:
        """What a unimodal loss counts in the total: the authors' code averages them."""
        return 1 / self.pairs.sources.shape[0] if self.options["variant"] == "official" else 1.0


class Losses(NamedTuple):
    """The losses of a step: total, aligned, misaligned of shape (), unimodal of shape (M,)."""

    total: Tensor
    aligned: Tensor
    unimodal: Tensor
    misaligned: Tensor


class Slopes(NamedTuple):
    """What a loss that is made of the terms changes by with each of them.

    Attributes
    ----------
    unimodal : float, or Tensor, shape () or (M, 1)
    aligned, misaligned : float, or Tensor, shape ()
    """

    unimodal: Any
    aligned: Any
    misaligned: Any

    @classmethod
    def of(cls, plan: Plan, total: Any, aligned: Any, unimodal: Any, misaligned: Any) -> Slopes:
        """Join the slope of the total with those of the single terms; None means none."""
        unimodal = None if unimodal is None else unimodal[:, None]
        return cls(
            _sum(total, plan.unimodal_factor, unimodal), _sum(total, 1.0, aligned), _sum(total, plan.weight, misaligned)
        )


def _sum(total: Any, factor: float, term: Any) -> Any:
    if total is None:
        return 0.0 if term is None else term
    shared = total if factor == 1 else total * factor
    return shared if term is None else shared + term
