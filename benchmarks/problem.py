"""What a benchmark runs on: random features, labels and heads of a given size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from midas_core.adapters.torch import MidasLoss


class Size(NamedTuple):
    """Of a step.

    Attributes
    ----------
    batch, classes, width : int
        B, C and D of every modality.
    modalities : int
        M.
    """

    batch: int
    classes: int
    width: int
    modalities: int = 2

    def __str__(self) -> str:
        """Return (B, C, D), and M where it is not 2."""
        rest = "" if self.modalities == 2 else f", M={self.modalities}"
        return f"({self.batch}, {self.classes}, {self.width}{rest})"


@dataclass
class Problem:
    """Features that need gradients, labels, a fused head and a criterion, which owns the unimodal heads.

    Parameters
    ----------
    size : Size
    device : str
    dtype : torch.dtype
    seed : int
    """

    size: Size
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    seed: int = 0
    features: list[Tensor] = field(init=False)
    labels: Tensor = field(init=False)
    head: nn.Linear = field(init=False)
    criterion: MidasLoss = field(init=False)

    def __post_init__(self) -> None:
        batch, classes, width, modalities = self.size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            drawn = [torch.randn(batch, width, dtype=self.dtype) for _ in range(modalities)]
            self.features = [x.to(self.device).requires_grad_() for x in drawn]
            self.labels = torch.randint(classes, (batch,)).to(self.device)
            self.head = nn.Linear(modalities * width, classes).to(self.device, self.dtype)
            self.criterion = MidasLoss(num_classes=classes, feature_dims=[width] * modalities, seed=self.seed)
            self.criterion.to(self.device, self.dtype)

    @property
    def leaves(self) -> list[Tensor]:
        """All that a step gives a gradient to."""
        return [*self.features, *self.head.parameters(), *self.criterion.parameters()]

    def zero_grad(self) -> None:
        """Drop the gradients, as an optimizer does."""
        for leaf in self.leaves:
            leaf.grad = None
