"""The one training loop of the comparison, the same for every method: K models of a task at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from midas_core.compare.methods.base import Method, Setup
from midas_core.compare.stack import Model, Network, Random, StackedOptimizer, StackedSplit
from midas_core.data import Task

POINTS = 40
"""About how often the validation accuracy is measured during training."""


class Setting(NamedTuple):
    """Seed (of the split, the initial weights, the batches and the method) and hyperparameters of one model."""

    seed: int
    learning_rate: float
    strength: float


@dataclass(frozen=True)
class Recipe:
    """Training of every method of a task; the tuning tries learning rates from the first to the second."""

    epochs: int
    batch_size: int = 64
    learning_rates: tuple[float, float] = (5e-4, 2e-2)
    optimizer: str = "adam"  # or "sgd"
    network: Network = field(default_factory=Network)


@dataclass
class Trained:
    """A stack after training: at the last best validation accuracy of each model, and at the end."""

    method: Method
    best: Model
    last: Model
    best_epoch: list[int]  # K
    epochs: list[int] = field(default_factory=list)  # with a measurement
    validation_accuracy: list[list[float]] = field(default_factory=list)  # (measurements, K)
    training_loss: list[list[float]] = field(default_factory=list)  # (measurements, K), means since the last one
    seconds: float = 0.0  # of the processor, for the whole stack without the measurements


def train(tasks: Mapping[int, Task], make: type[Method], settings: Sequence[Setting], recipe: Recipe) -> Trained:
    """Train K models side by side."""
    seeds = [setting.seed for setting in settings]
    distinct = list(dict.fromkeys(seeds))
    which, first = [distinct.index(seed) for seed in seeds], tasks[distinct[0]]
    training = StackedSplit([tasks[seed].training for seed in distinct], which)
    validation = StackedSplit([tasks[seed].validation for seed in distinct], which)

    # Streams apart: what a method draws changes neither the initial weights nor the order of the batches.
    widths = [x.shape[1] for x in first.training.inputs]
    model = Model(widths, first.num_classes, Random(seeds, stream=0), recipe.network)
    strength = torch.tensor([setting.strength for setting in settings])
    setup = Setup(first.num_classes, model.feature_dims, strength, Random(seeds, stream=1), recipe.epochs)
    method = make(setup)
    draws = Random(seeds, stream=2)
    rates = [setting.learning_rate for setting in settings]
    optimizer = StackedOptimizer([*model.parameters(), *method.parameters()], rates, recipe.optimizer)

    run = Trained(method, model.select(*range(len(seeds))), model, [0] * len(seeds))
    best = torch.full((len(seeds),), -1.0)
    every, start = max(1, recipe.epochs // POINTS), time.process_time()
    total, steps = torch.zeros(len(seeds)), 0
    for epoch in range(recipe.epochs):
        order = method.order(model, training, epoch, draws.epoch(training.sizes))
        for index in order.split(recipe.batch_size, dim=1):
            losses = method.loss(model, training.take(index, epoch))
            losses.sum().backward()
            method.after_backward(model)
            optimizer.step()
            total += losses.detach()
            steps += 1
        if (epoch + 1) % every and epoch + 1 < recipe.epochs:
            continue
        run.seconds += time.process_time() - start
        with torch.no_grad():
            accuracy = validation.accuracy(lambda inputs: method.logits(model, model.features(inputs)))
        better = accuracy >= best
        best = torch.where(better, accuracy, best)
        run.best.take_over(model, better)
        run.best_epoch = torch.where(better, epoch + 1, torch.tensor(run.best_epoch)).tolist()
        run.epochs.append(epoch + 1)
        run.validation_accuracy.append(accuracy.tolist())
        run.training_loss.append((total / steps).tolist())
        total, steps, start = torch.zeros(len(seeds)), 0, time.process_time()
    return run
