"""The ways that a step of `MidasLoss` can take, by what its user asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Way:
    """What a user asks of a step beside the plain loss.

    Attributes
    ----------
    options : dict
        Of `MidasLoss`. True in place of ``class_weights`` stands for a weight for each class.
    hidden : bool
        Whether the fused head has a hidden layer, as wide as a feature.
    sample_weight, present : bool
        Whether each sample has a weight; whether some modalities are missing.
    modalities : int
        M.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    hidden: bool = False
    sample_weight: bool = False
    present: bool = False
    modalities: int = 2


PLAIN = Way()

WAYS = {
    "plain": PLAIN,
    "MLP head": Way(hidden=True),
    "present": Way(present=True),
    "class weights": Way({"class_weights": True}),
    "label smoothing": Way({"label_smoothing": 0.1}),
    "sample weights": Way(sample_weight=True),
    "six modalities": Way(modalities=6),
    "three modalities": Way(modalities=3),
    "multi-label": Way({"multi_label": True}),
    "official": Way({"variant": "official"}),
    "per sample": Way({"reduction": "none"}),
    "L2 similarity": Way({"similarity": "l2"}),
    "no similarity": Way({"similarity": None}),
    "warm-up": Way({"warmup_epochs": 1}),
    "all options": Way(
        {"class_weights": True, "label_smoothing": 0.1}, hidden=True, sample_weight=True, present=True, modalities=3
    ),
}
"""By name. The first few are what a table of the benchmark shows."""
