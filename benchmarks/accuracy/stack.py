"""The data of K models, and the step of their optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from benchmarks.accuracy.methods.base import Batch
from midas_core.data import Split


class StackedSplit:
    """One split for K models: models of one seed share their samples in memory.

    Parameters
    ----------
    splits : sequence of Split
        One for each distinct seed, all of one size.
    which : sequence of K int
        Which of them each model has.
    """

    def __init__(self, splits: Sequence[Split], which: Sequence[int]) -> None:
        self._views = [
            torch.stack([torch.from_numpy(x) for x in views]) for views in zip(*(s.inputs for s in splits), strict=True)
        ]
        self._labels = torch.stack([torch.from_numpy(split.labels) for split in splits])
        self._which = torch.tensor(list(which))

    def __len__(self) -> int:
        return self._labels.shape[1]

    def take(self, index: Tensor, epoch: int = 0) -> Batch:
        """Return the samples that ``index`` (K, B) names."""
        rows = self._which[:, None]
        return Batch([view[rows, index] for view in self._views], self._labels[rows, index], index, epoch)

    def batches(self, epoch: int, size: int = 256) -> Iterator[Batch]:
        """Yield all samples once, in their order."""
        for part in torch.arange(len(self)).split(size):
            yield self.take(part.expand(len(self._which), -1), epoch)


class StackedAdam:
    """Adam with a learning rate for each model.

    Parameters
    ----------
    parameters : list of Parameter, shapes (K, ...)
    learning_rates : sequence of K float
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rates: Sequence[float]) -> None:
        self._parameters = list(parameters)
        self._rates = torch.tensor(list(learning_rates))
        # Adam's step is in proportion to its rate: what it does at the largest is cut down for the others.
        self._largest = max(learning_rates)
        self._adam = torch.optim.Adam(self._parameters, lr=self._largest, fused=True)

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, and forget the gradients."""
        shares = self._rates / self._largest
        moved = [] if bool((shares == 1).all()) else [p for p in self._parameters if p.grad is not None]
        before = [p.clone() for p in moved]
        self._adam.step()
        for p, old in zip(moved, before, strict=True):
            p.copy_(torch.lerp(old, p, shares.view(-1, *[1] * (p.ndim - 1))))
        self._adam.zero_grad()
