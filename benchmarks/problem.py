"""What a benchmark runs on: random features, labels and heads of a given size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.usages import PLAIN, Usage
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
    usage : Usage
        What a step is asked for beside the plain loss.

    Attributes
    ----------
    beside : dict of Tensor
        What the criterion takes beside features, labels and head: ``sample_weight``, ``present``.
    """

    size: Size
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    seed: int = 0
    usage: Usage = PLAIN
    features: list[Tensor] = field(init=False)
    labels: Tensor = field(init=False)
    head: nn.Module = field(init=False)
    criterion: MidasLoss = field(init=False)
    beside: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        batch, classes, width, modalities = self.size
        options = dict(self.usage.options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            drawn = [torch.randn(batch, width, dtype=self.dtype) for _ in range(modalities)]
            self.features = [x.to(self.device).requires_grad_() for x in drawn]
            labels = torch.randint(classes, (batch,))
            if options.get("multi_label"):
                labels = functional.one_hot(labels, classes) | torch.randint(2, (batch, classes))
            self.labels = labels.to(self.device)
            layers = [nn.Linear(modalities * width, width), nn.ReLU()] if self.usage.hidden else []
            head = nn.Sequential(*layers, nn.Linear(width if layers else modalities * width, classes))
            # Alone in no container, as users have it.
            self.head = (head if layers else head[0]).to(self.device, self.dtype)
            if options.get("class_weights"):
                options["class_weights"] = torch.rand(classes) + 0.5
            self.criterion = MidasLoss(
                num_classes=classes, feature_dims=[width] * modalities, seed=self.seed, **options
            )
            self.criterion.to(self.device, self.dtype)
            if options.get("warmup_epochs"):
                self.criterion.set_epoch(0)
            beside = {}
            if self.usage.sample_weight:
                beside["sample_weight"] = (torch.rand(batch) + 0.5).to(self.dtype)
            if self.usage.present:
                present = torch.rand(batch, modalities) < 0.8
                # Nobody is without anything.
                present[:, 0] |= ~present.any(dim=1)
                beside["present"] = present
            self.beside = {name: x.to(self.device) for name, x in beside.items()}

    @property
    def leaves(self) -> list[Tensor]:
        """All that a step gives a gradient to."""
        return [*self.features, *self.head.parameters(), *self.criterion.parameters()]

    def zero_grad(self) -> None:
        """Drop the gradients, as an optimizer does."""
        for leaf in self.leaves:
            leaf.grad = None
