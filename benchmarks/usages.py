"""What users ask of a step of `MidasLoss`: each is measured and tested on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Usage:
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


PLAIN = Usage()

USAGES = {
    "plain": PLAIN,
    "MLP head": Usage(hidden=True),
    "present": Usage(present=True),
    "class weights": Usage({"class_weights": True}),
    "label smoothing": Usage({"label_smoothing": 0.1}),
    "sample weights": Usage(sample_weight=True),
    "six modalities": Usage(modalities=6),
    "three modalities": Usage(modalities=3),
    "multi-label": Usage({"multi_label": True}),
    "official": Usage({"variant": "official"}),
    "per sample": Usage({"reduction": "none"}),
    "L2 similarity": Usage({"similarity": "l2"}),
    "no similarity": Usage({"similarity": None}),
    "absent partners": Usage({"absent_share": 0.3}),
    "warm-up": Usage({"warmup_epochs": 1}),
    "all options": Usage(
        {"class_weights": True, "label_smoothing": 0.1}, hidden=True, sample_weight=True, present=True, modalities=3
    ),
}
"""By name. The first few are what a table of the benchmark shows."""
