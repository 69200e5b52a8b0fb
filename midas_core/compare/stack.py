"""K models of one shape, trained side by side as one model whose arrays have a leading axis K.

Many seeds, learning rates and strengths at once. No number of one model reaches another: a method returns K losses,
their sum is differentiated, and every model gets the gradient of its own loss.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from midas_core.data import Split


class Random:
    """Random numbers for K models: equal for equal seeds, other ones in another stream."""

    def __init__(self, seeds: Sequence[int], *, stream: int = 0) -> None:
        self.seeds = list(seeds)
        distinct = list(dict.fromkeys(seeds))
        self._generators = [np.random.default_rng([seed, stream]) for seed in distinct]
        self._which = torch.tensor([distinct.index(seed) for seed in seeds])

    def draw(self, function: Callable[[np.random.Generator], Any]) -> Tensor:
        """Return what ``function`` draws from the generator of each model, shape (K, ...)."""
        return torch.stack([torch.as_tensor(function(rng)) for rng in self._generators])[self._which]

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1), shape (K, *shape), float32."""
        return self.draw(lambda rng: rng.random(shape, dtype=np.float32))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, shape (K, *shape), float32."""
        return self.draw(lambda rng: rng.standard_normal(shape, dtype=np.float32))

    def permutation(self, size: int) -> Tensor:
        """Return a permutation of ``size`` for each model, shape (K, size), int64."""
        return self.draw(lambda rng: rng.permutation(size))

    def epoch(self, sizes: Sequence[int]) -> Tensor:
        """Return the samples of an epoch in random order, shape (K, N), int64, for the size of each distinct seed.

        N is the largest size; a smaller training set begins its next pass in what is left.
        """
        longest, remaining = max(sizes), iter(sizes)

        def passes(rng: np.random.Generator) -> Any:
            size = next(remaining)
            return np.concatenate([rng.permutation(size) for _ in range(-(-longest // size))])[:longest]

        return self.draw(passes)


class StackedLinear(nn.Module):
    """K linear layers side by side, initialised from the distribution of `torch.nn.Linear`."""

    def __init__(self, inputs: int, outputs: int, random: Random) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter((2 * random.uniform(inputs, outputs) - 1) * bound)  # (K, inputs, outputs)
        self.bias = nn.Parameter((2 * random.uniform(1, outputs) - 1) * bound)  # (K, 1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (K, B, outputs) of (K, B, inputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class Network:
    """Widths of the two layers of every encoder, and of a hidden layer of the fused head; 0 for a linear head."""

    hidden: int = 64
    features: int = 32
    head: int = 0


class Model(nn.Module):
    """K models: an encoder for each modality, a head on the concatenated features, a linear head on each feature."""

    def __init__(self, widths: Sequence[int], num_classes: int, random: Random, network: Network = Network()) -> None:
        super().__init__()
        self.count, self.num_classes = len(random.seeds), num_classes
        self.feature_dims = [network.features] * len(widths)
        self.encoders = nn.ModuleList(
            _two_layers(width, network.hidden, network.features, random).append(nn.ReLU()) for width in widths
        )
        joined = sum(self.feature_dims)
        self.head: Any = (
            _two_layers(joined, network.head, num_classes, random)
            if network.head
            else StackedLinear(joined, num_classes, random)
        )
        self.unimodal_heads = nn.ModuleList(StackedLinear(width, num_classes, random) for width in self.feature_dims)

    def features(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the feature of each modality, M of (K, B, D_m)."""
        return [encode(x) for encode, x in zip(self.encoders, inputs, strict=True)]

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        """Return the logits of the fused head, (K, B, C)."""
        logits: Tensor = self.head(torch.cat(list(features), dim=-1))
        return logits

    def unimodal(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits of the unimodal heads, M of (K, B, C)."""
        return [head(x) for head, x in zip(self.unimodal_heads, features, strict=True)]

    def contributions(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the part of each modality in the logits of a linear head, M of (K, B, C); their sum lacks the bias."""
        parts = self.head.weight.split(self.feature_dims, dim=1)
        return [x @ part for x, part in zip(features, parts, strict=True)]

    def select(self, *models: int) -> Model:
        """Return a copy that holds some of the models."""
        kept = {id(p): nn.Parameter(p.detach()[list(models)]) for p in self.parameters()}
        chosen = copy.deepcopy(self, kept)
        chosen.count = len(models)
        return chosen

    @torch.no_grad()
    def take_over(self, source: Model, which: Tensor) -> None:
        """Copy the parameters of those models for which ``which`` (K,) holds."""
        for mine, theirs in zip(self.parameters(), source.parameters(), strict=True):
            mine[which] = theirs[which]


def _two_layers(inputs: int, hidden: int, outputs: int, random: Random) -> nn.Sequential:
    return nn.Sequential(StackedLinear(inputs, hidden, random), nn.ReLU(), StackedLinear(hidden, outputs, random))


@dataclass(frozen=True)
class Batch:
    """A batch of each model; ``index`` names its samples in the training data, ``epoch`` begins at 0."""

    inputs: list[Tensor]  # M of (K, B, D_m)
    labels: Tensor  # (K, B)
    index: Tensor  # (K, B)
    epoch: int


class StackedSplit:
    """One split for K models: ``splits`` for each distinct seed, of any size, and ``which`` of them each model has."""

    def __init__(self, splits: Sequence[Split], which: Sequence[int]) -> None:
        self.sizes = [len(split) for split in splits]
        # Seeds that have the very same samples, as with large data, share one copy.
        distinct = list({id(split): split for split in splits}.values())
        self._inputs = [_joined(arrays) for arrays in zip(*(split.inputs for split in distinct), strict=True)]
        self._labels = _joined([split.labels for split in distinct])
        starts = np.cumsum([0, *map(len, distinct)])
        start_of = {id(split): int(start) for split, start in zip(distinct, starts, strict=False)}
        self._first = torch.tensor([start_of[id(splits[w])] for w in which])[:, None]
        self._size = torch.tensor([self.sizes[w] for w in which])[:, None]

    def take(self, index: Tensor, epoch: int = 0) -> Batch:
        """Return the samples that ``index`` (K, B) names."""
        rows = (self._first + index).flatten()
        inputs = [x.index_select(0, rows).view(*index.shape, -1) for x in self._inputs]
        return Batch(inputs, self._labels[rows].view(index.shape), index, epoch)

    def batches(self, epoch: int = 0, size: int = 256) -> Iterator[tuple[Batch, Tensor]]:
        """Yield all samples in their order, with a mask (K, B): false where a shorter split is filled up."""
        for part in torch.arange(max(self.sizes)).split(size):
            yield self.take(part % self._size, epoch), part < self._size

    def accuracy(self, predict: Callable[[list[Tensor]], Tensor]) -> Tensor:
        """Return the accuracy of each model, shape (K,), by its logits of the inputs."""
        hits = [((predict(b.inputs).argmax(-1) == b.labels) & real).sum(1) for b, real in self.batches()]
        return torch.stack(hits).sum(0) / self._size[:, 0]


def _joined(arrays: Sequence[Any]) -> Tensor:
    return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


class StackedOptimizer:
    """Adam, or SGD with a momentum of 0.9, with a learning rate for each model: their steps are in proportion to it."""

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rates: Sequence[float], name: str = "adam") -> None:
        self._parameters = list(parameters)
        # The step of the largest rate is cut down for the others.
        largest = max(learning_rates)
        self._shares = torch.tensor(list(learning_rates)) / largest
        self._equal = bool((self._shares == 1).all())
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(self._parameters, lr=largest, fused=True)
            if name == "adam"
            else torch.optim.SGD(self._parameters, lr=largest, momentum=0.9, fused=True)
        )

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, and forget the gradients."""
        moved = [] if self._equal else [p for p in self._parameters if p.grad is not None]
        before = [p.clone() for p in moved]
        self._optimizer.step()
        for p, old in zip(moved, before, strict=True):
            p.copy_(torch.lerp(old, p, self._shares.view(-1, *[1] * (p.ndim - 1))))
        self._optimizer.zero_grad()
