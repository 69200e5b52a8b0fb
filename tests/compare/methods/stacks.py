"""A small stack of models, a batch, and steps with a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, Setup
from midas_core.compare.stack import Batch, Model, Network, Random

WIDTHS, CLASSES, SIZE = (5, 3), 4, 12


def make(
    method: type[Method], seeds: Sequence[int], strengths: Sequence[float], *, widths: Sequence[int] = WIDTHS
) -> tuple[Model, Method]:
    """Return a model of each seed and the method with each strength."""
    random = Random(seeds)
    model = Model(widths, CLASSES, random, Network(6, 4))
    setup = Setup(CLASSES, model.feature_dims, torch.tensor(strengths), random, epochs=20)
    return model, method(setup)


def batch(seeds: Sequence[int], *, epoch: int = 9, widths: Sequence[int] = WIDTHS) -> Batch:
    """Return a batch of each seed."""
    drawn = [np.random.default_rng(100 + seed) for seed in seeds]
    labels = torch.stack([torch.as_tensor(rng.permutation(np.arange(SIZE) % CLASSES)) for rng in drawn])
    inputs = [
        torch.stack([torch.as_tensor(rng.standard_normal((SIZE, width), dtype=np.float32)) for rng in drawn])
        for width in widths
    ]
    return Batch(inputs, labels, torch.arange(SIZE).expand(len(seeds), SIZE), epoch)


class Whole:
    """Training data of one batch."""

    def __init__(self, given: Batch) -> None:
        self.given = given

    def batches(self, epoch: int) -> list[tuple[Batch, Tensor]]:
        return [(self.given, torch.ones_like(self.given.labels, dtype=torch.bool))]


def step(model: Model, method: Method, given: Batch) -> Tensor:
    """Return the losses of a batch, and leave the gradients that a step would use."""
    model.zero_grad()
    method.order(model, Whole(given), given.epoch, given.index)
    losses = method.loss(model, given)
    losses.sum().backward()
    method.after_backward(model)
    return losses.detach()
