"""The steps that are compared: losses of a batch and their gradients, heads included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.problem import Problem
from benchmarks.textbook import TextbookMidas
from midas_core.partners import VIEWS

Loss = Callable[[], Tensor]


def joint_unimodal_loss(problem: Problem) -> Loss:
    """Return a function that computes the cross-entropy of the fused head plus that of each unimodal head.

    With the same options as the criterion. A head with a hidden layer runs on as many rows as MIDAS gives it, 3 B, and
    so does its cross-entropy: what the rows cost, MIDAS cannot spare.
    """
    features, labels, head = problem.features, problem.labels, problem.head
    unimodal_heads = problem.criterion.unimodal_heads
    entropy = _cross_entropy(problem)
    present = problem.beside.get("present")
    repeats = 1 + VIEWS if problem.usage.hidden and not problem.usage.options.get("warmup_epochs") else 1

    def loss() -> Tensor:
        given = features
        if present is not None:
            given = [x * present[:, m, None] for m, x in enumerate(features)]
        rows = torch.cat(given, dim=1)
        if repeats > 1:
            rows = rows.repeat(repeats, 1)
        total = entropy(head(rows), labels.repeat(repeats) if repeats > 1 else labels, None)
        for m, (unimodal_head, feature) in enumerate(zip(unimodal_heads, given, strict=True)):
            total = total + entropy(unimodal_head(feature), labels, None if present is None else present[:, m])
        return total

    return loss


def _cross_entropy(problem: Problem) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Return the mean cross-entropy with the criterion's options, over all rows or over those that are present."""
    smoothing = problem.criterion.options.label_smoothing
    weights = problem.criterion.class_weights
    weights = None if weights is None else weights.to(problem.dtype)
    sample_weight = problem.beside.get("sample_weight")
    multi_label = problem.criterion.options.multi_label

    def entropy(logits: Tensor, labels: Tensor, here: Tensor | None) -> Tensor:
        if multi_label:
            targets = labels.to(logits.dtype)
            return functional.binary_cross_entropy_with_logits(logits, targets, weight=weights)
        if here is None and sample_weight is None:
            # The mean of PyTorch divides by the weights of the classes.
            reduction = "mean" if weights is None else "sum"
            found = functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction=reduction)
            return found if weights is None else found / len(labels)
        each = functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction="none")
        if sample_weight is not None:
            each = each * sample_weight.repeat(len(labels) // len(sample_weight))
        return each.mean() if here is None else (each * here).sum() / here.sum()

    return entropy


def midas_loss(problem: Problem) -> Loss:
    """Return a function that computes the loss of `MidasLoss`, pairs drawn each time."""
    features, labels, head, criterion = problem.features, problem.labels, problem.head, problem.criterion

    def loss() -> Tensor:
        total: Tensor = criterion(features, labels, head=head, **problem.beside)
        return total.mean() if total.ndim else total

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
