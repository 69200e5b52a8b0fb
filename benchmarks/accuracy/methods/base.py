"""What every method of the comparison is written against: a stack of models, and what a method does with it.

K models of one shape are trained side by side, as one model whose arrays have a leading axis K: many seeds, learning
rates and strengths at once. No number of one model reaches another: a method returns K losses, their sum is
differentiated, and each model gets the gradient of its own. A real encoder is a stack of one, see `Single`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Random:
    """Random numbers for K models, each from its own seed: models of one seed get the same numbers.

    Parameters
    ----------
    seeds : sequence of K int
    stream : int
        Another one gives other numbers for the same seeds.
    device : torch.device, optional

    Examples
    --------
    >>> Random([0, 1, 0]).uniform(2).shape
    torch.Size([3, 2])
    """

    def __init__(self, seeds: Sequence[int], *, stream: int = 0, device: Any = None) -> None:
        self.seeds, self.device = list(seeds), device
        distinct = list(dict.fromkeys(seeds))
        self._generators = [np.random.default_rng([seed, stream]) for seed in distinct]
        self._which = torch.tensor([distinct.index(seed) for seed in seeds])

    def draw(self, function: Callable[[np.random.Generator], Any]) -> Tensor:
        """Return what ``function`` draws from the generator of each model, shape (K, ...)."""
        drawn = torch.stack([torch.as_tensor(function(rng)) for rng in self._generators])
        return drawn[self._which].to(self.device)

    def get_state(self) -> list[Any]:
        """Return where the generators stand."""
        return [generator.bit_generator.state for generator in self._generators]

    def set_state(self, state: Sequence[Any]) -> None:
        """Go on from where generators stood."""
        for generator, each in zip(self._generators, state, strict=True):
            generator.bit_generator.state = each

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1), shape (K, *shape), float32."""
        return self.draw(lambda rng: rng.random(shape, dtype=np.float32))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, shape (K, *shape), float32."""
        return self.draw(lambda rng: rng.standard_normal(shape, dtype=np.float32))

    def permutation(self, size: int) -> Tensor:
        """Return a permutation of ``size`` for each model, shape (K, size), int64."""
        return self.draw(lambda rng: rng.permutation(size))


class StackedLinear(nn.Module):
    """K linear layers side by side, with the first weights that `torch.nn.Linear` draws from.

    Parameters
    ----------
    inputs, outputs : int
    random : Random
    """

    def __init__(self, inputs: int, outputs: int, random: Random) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter((2 * random.uniform(inputs, outputs) - 1) * bound)  # (K, inputs, outputs)
        self.bias = nn.Parameter((2 * random.uniform(1, outputs) - 1) * bound)  # (K, 1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (K, B, outputs) of (K, B, inputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class Single(nn.Module):
    """An encoder of the usual kind, (B, ...) to (B, D), as a stack of one: (1, B, ...) to (1, B, D).

    Parameters
    ----------
    encoder : Module
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Any) -> Tensor:
        """Return the features; a dict of tensors, as of tokens and their mask, goes in as such."""
        inside = {name: value[0] for name, value in x.items()} if isinstance(x, dict) else x[0]
        features: Tensor = self.encoder(inside)
        return features[None]


class Model(nn.Module):
    """K models: an encoder for each modality, a linear head on the concatenated features, a linear head on each.

    Parameters
    ----------
    encoders : sequence of M modules
        From (K, B, ...) to (K, B, D_m).
    feature_dims : sequence of M int
    num_classes : int
    random : Random
        Of the heads.
    """

    def __init__(
        self, encoders: Sequence[nn.Module], feature_dims: Sequence[int], num_classes: int, random: Random
    ) -> None:
        super().__init__()
        self.count, self.feature_dims, self.num_classes = len(random.seeds), list(feature_dims), num_classes
        self.encoders = nn.ModuleList(encoders)
        self.head = StackedLinear(sum(feature_dims), num_classes, random)
        self.unimodal_heads = nn.ModuleList(StackedLinear(width, num_classes, random) for width in feature_dims)

    def features(self, inputs: Sequence[Any]) -> list[Tensor]:
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
        """Return what each modality adds to the fused logits, M of (K, B, C): their sum lacks the bias alone."""
        parts = self.head.weight.split(self.feature_dims, dim=1)
        return [x @ part for x, part in zip(features, parts, strict=True)]

    def rows(self, x: Tensor) -> Tensor:
        """Return a parameter or its gradient with a row for each model, a view of shape (K, n).

        What changes gradients, or takes a product of them, does so here: it holds for real encoders too.
        """
        return x.view(self.count, -1)

    def select(self, *models: int) -> Model:
        """Return a copy that holds some of the models."""
        chosen = copy.deepcopy(self)
        if list(models) == list(range(self.count)):
            return chosen
        chosen.count = len(models)
        for module in chosen.modules():
            if isinstance(module, StackedLinear):
                module.weight = nn.Parameter(module.weight.detach()[list(models)])
                module.bias = nn.Parameter(module.bias.detach()[list(models)])
        return chosen


def dense_model(
    widths: Sequence[int], num_classes: int, random: Random, *, hidden: int = 64, features: int = 32
) -> Model:
    """Return K models with an encoder of two dense layers for each modality.

    Parameters
    ----------
    widths : sequence of M int
        Of the inputs.
    num_classes : int
    random : Random
    hidden, features : int
        Widths of the hidden layer and of the feature.
    """
    encoders = [
        nn.Sequential(
            StackedLinear(width, hidden, random), nn.ReLU(), StackedLinear(hidden, features, random), nn.ReLU()
        )
        for width in widths
    ]
    return Model(encoders, [features] * len(widths), num_classes, random)


@dataclass(frozen=True)
class Batch:
    """A batch of each model.

    Attributes
    ----------
    inputs : list of M tensors, shapes (K, B, ...)
    labels : tensor, shape (K, B), int64
    index : tensor, shape (K, B), int64
        Of the samples in the training data.
    epoch : int
        From 0.
    """

    inputs: list[Any]
    labels: Tensor
    index: Tensor
    epoch: int


class TrainingData(Protocol):
    """The training data of each model, for a method that takes a pass of its own over it."""

    def __len__(self) -> int:
        """Return the number of samples, N, the same for each model."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield all samples once, in their order."""


@dataclass(frozen=True)
class Setup:
    """What a method is made for.

    Attributes
    ----------
    num_classes : int
        C.
    feature_dims : list of M int
    strength : tensor, shape (K,)
        Of the method's one hyperparameter, for each model.
    random : Random
        Whatever a method draws, it draws from here.
    epochs : int
        Of the whole training.
    """

    num_classes: int
    feature_dims: list[int]
    strength: Tensor
    random: Random
    epochs: int


class Method:
    """A way to train: the losses, and what it changes around them.

    A subclass gives `loss` and, where its paper needs them, the other hooks. Its docstring has the paper, its equation,
    and a line for each choice that the paper leaves.

    Parameters
    ----------
    setup : Setup

    Attributes
    ----------
    title : str
        In tables; the name by which it is called.
    strengths : tuple of float
        What is tried for its one hyperparameter; empty where it has none.
    strength_name : str
    trains_unimodal_heads : bool
        Whether `Model.unimodal_heads` mean anything after training: the vote at prediction needs them.
    """

    title: ClassVar[str]
    strengths: ClassVar[tuple[float, ...]] = ()
    strength_name: ClassVar[str] = ""
    trains_unimodal_heads: ClassVar[bool] = False

    def __init__(self, setup: Setup) -> None:
        self.setup, self.strength, self.random = setup, setup.strength, setup.random

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return the loss of each model, shape (K,)."""
        raise NotImplementedError

    def after_backward(self, model: Model) -> None:
        """Change the gradients of the parameters, in place, before the optimizer takes its step."""

    def start_epoch(self, model: Model, training: TrainingData, epoch: int) -> Tensor | None:
        """Return which samples the epoch goes through, shape (K, N'); None for each once. They are shuffled after."""
        return None

    def end_epoch(self, model: Model, training: TrainingData, epoch: int) -> None:
        """Look at the model after an epoch."""

    def logits(self, model: Model, features: Sequence[Tensor]) -> Tensor:
        """Return what the method predicts with, shape (K, B, C); the model may be some of the stack."""
        return model.fuse(features)

    def parameters(self) -> list[nn.Parameter]:
        """Return what the method trains beside the model."""
        return []

    def state_dict(self) -> dict[str, Tensor]:
        """Return what one step hands on to the next, parameters and random numbers aside."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each model, shape (K,), of logits (K, B, C) and labels (K, B)."""
    each = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=1)
