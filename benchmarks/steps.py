"""The steps that are compared: losses of a batch and their gradients, heads included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.problem import Problem
from benchmarks.textbook import TextbookMidas

Loss = Callable[[], Tensor]


def joint_unimodal_loss(problem: Problem) -> Loss:
    """Return a function that computes the cross-entropy of the fused head plus that of each unimodal head."""
    features, labels, head = problem.features, problem.labels, problem.head
    unimodal_heads = problem.criterion.unimodal_heads

    def loss() -> Tensor:
        total = functional.cross_entropy(head(torch.cat(features, dim=1)), labels)
        for unimodal_head, feature in zip(unimodal_heads, features, strict=True):
            total = total + functional.cross_entropy(unimodal_head(feature), labels)
        return total

    return loss


def midas_loss(problem: Problem) -> Loss:
    """Return a function that computes the loss of `MidasLoss`, pairs drawn each time."""
    features, labels, head, criterion = problem.features, problem.labels, problem.head, problem.criterion

    def loss() -> Tensor:
        total: Tensor = criterion(features, labels, head=head)
        return total

    return loss


def textbook_loss(problem: Problem) -> Loss:
    """Return a function that computes the textbook loss with the same unimodal heads, pairs drawn each time."""
    features, labels, head = problem.features, problem.labels, problem.head
    textbook = TextbookMidas(problem.size.classes, [f.shape[1] for f in features]).to(problem.device, problem.dtype)
    textbook.unimodal_heads = problem.criterion.unimodal_heads

    def loss() -> Tensor:
        total: Tensor = textbook(features, labels, head)
        return total

    return loss


def training_step(problem: Problem, loss: Loss) -> Callable[[], None]:
    """Return a step: gradients dropped, forward, backward."""

    def step() -> None:
        problem.zero_grad()
        loss().backward()

    return step
