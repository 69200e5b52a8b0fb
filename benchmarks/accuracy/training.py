"""The one training loop of the comparison, the same for every method: K models of a task at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.accuracy.methods.base import Method, Model, Random, Setup, dense_model
from benchmarks.accuracy.stack import StackedAdam, StackedSplit
from midas_core.data import Task

POINTS = 40
"""About how often the validation accuracy is measured during training."""


class Setting(NamedTuple):
    """What one model of the stack is trained with.

    Attributes
    ----------
    seed : int
        Of the split, the first weights, the order of the batches and whatever the method draws.
    learning_rate : float
        Of Adam.
    strength : float
        Of the method's one hyperparameter.
    """

    seed: int
    learning_rate: float
    strength: float


@dataclass
class Trained:
    """A stack after training.

    Attributes
    ----------
    method : Method
    models : dict of Model
        "best": each model at its best validation accuracy, the last of equal ones. "end": as training left it.
    best_epoch : list of K int
    epochs : list of int
        When the validation accuracy was measured.
    validation_accuracy : list of lists of K float
        At these epochs.
    training_loss : list of lists of K float
        The mean since the last of these epochs.
    seconds : float
        Processor time of the whole stack, measuring left out.
    """

    method: Method
    models: dict[str, Model]
    best_epoch: list[int]
    epochs: list[int] = field(default_factory=list)
    validation_accuracy: list[list[float]] = field(default_factory=list)
    training_loss: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    tasks: Mapping[int, Task],
    make_method: Callable[[Setup], Method],
    settings: Sequence[Setting],
    *,
    epochs: int,
    batch_size: int,
    report: Callable[[int], None] = lambda epochs: None,
) -> Trained:
    """Train K models side by side.

    Parameters
    ----------
    tasks : dict of Task by seed
    make_method : callable
        From a `Setup` to a `Method`.
    settings : sequence of K `Setting`
    epochs, batch_size : int
    report : callable
        Told, now and then, how many epochs have been done since the last time.
    """
    seeds = [setting.seed for setting in settings]
    distinct = list(dict.fromkeys(seeds))
    which, first = [distinct.index(seed) for seed in seeds], tasks[distinct[0]]
    training = StackedSplit([tasks[seed].training for seed in distinct], which)
    validation = StackedSplit([tasks[seed].validation for seed in distinct], which)

    # Streams apart: what a method draws changes neither the first weights nor the order of the batches.
    widths = [view.shape[1] for view in first.training.inputs]
    model = dense_model(widths, first.num_classes, Random(seeds, stream=0))
    strength = torch.tensor([setting.strength for setting in settings])
    method = make_method(Setup(first.num_classes, model.feature_dims, strength, Random(seeds, stream=1), epochs))
    order = Random(seeds, stream=2)
    optimizer = StackedAdam([*model.parameters(), *method.parameters()], [s.learning_rate for s in settings])

    run = Trained(method, {}, [0] * len(seeds))
    best, best_accuracy = model.select(*range(len(seeds))), torch.full((len(seeds),), -1.0)
    every, since = max(1, epochs // POINTS), 0
    total, steps, start = torch.zeros(len(seeds)), 0, time.process_time()
    for epoch in range(epochs):
        chosen = method.start_epoch(model, training, epoch)
        shuffled = order.permutation(len(training) if chosen is None else chosen.shape[1])
        for index in (shuffled if chosen is None else chosen.gather(1, shuffled)).split(batch_size, dim=1):
            losses = method.loss(model, training.take(index, epoch))
            losses.sum().backward()
            method.after_backward(model)
            optimizer.step()
            total += losses.detach()
            steps += 1
        method.end_epoch(model, training, epoch)
        if (epoch + 1) % every and epoch + 1 < epochs:
            continue
        run.seconds += time.process_time() - start
        accuracy = accuracies(method, model, validation)
        better = accuracy >= best_accuracy
        best_accuracy = torch.where(better, accuracy, best_accuracy)
        take_over(best, model, better)
        for k in better.nonzero().flatten().tolist():
            run.best_epoch[k] = epoch + 1
        run.epochs.append(epoch + 1)
        run.validation_accuracy.append(accuracy.tolist())
        run.training_loss.append((total / steps).tolist())
        report(epoch + 1 - since)
        total, steps, since, start = torch.zeros(len(seeds)), 0, epoch + 1, time.process_time()
    run.models = {"best": best, "end": model}
    return run


@torch.no_grad()
def accuracies(method: Method, model: Model, split: StackedSplit) -> Tensor:
    """Return the accuracy of each model, shape (K,)."""
    hits = torch.zeros(model.count)
    for batch in split.batches(0):
        hits += (method.logits(model, model.features(batch.inputs)).argmax(-1) == batch.labels).sum(1)
    return hits / len(split)


@torch.no_grad()
def take_over(target: Model, source: Model, which: Tensor) -> None:
    """Copy the parameters of those models for which ``which`` (K,) holds."""
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        mine[which] = theirs[which]
