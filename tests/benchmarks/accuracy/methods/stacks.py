"""A small stack of models, a batch, and steps with a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.methods.base import Batch, Method, Model, Random, Setup, dense_model

WIDTHS, CLASSES, SIZE = (5, 3), 4, 12


def make(
    method: type[Method], seeds: Sequence[int], strengths: Sequence[float], *, widths: Sequence[int] = WIDTHS
) -> tuple[Model, Method]:
    """Return a model of each seed and the method with each strength."""
    random = Random(seeds)
    model = dense_model(widths, CLASSES, random, hidden=6, features=4)
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


def step(model: Model, method: Method, given: Batch) -> Tensor:
    """Return the losses of a batch, and leave the gradients that a step would use."""
    model.zero_grad()
    losses = method.loss(model, given)
    losses.sum().backward()
    method.after_backward(model)
    return losses.detach()
