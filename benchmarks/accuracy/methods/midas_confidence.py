"""MIDAS with other confidences in its soft labels, which tend to 1/M where encoders memorise their training data."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.methods.base import Batch, Model, Setup, TrainingData
from benchmarks.accuracy.methods.midas import Midas
from midas_core import MidasState, Pairs, Targets, midas_objective
from midas_core.weighting import weigh_pairs

FLOOR = 1e-12
"""Of a confidence, before its logarithm."""


class GivenConfidence(Midas):
    """MIDAS whose soft labels, and alpha, take log c from `confidences`."""

    def more(self, batch: Batch) -> Tensor | None:
        """Return log c at the class of each sample, shape (K, M, B)."""
        raise NotImplementedError

    def total(self, weight: Any, fused: Tensor, own: Any, mixed: Any, labels: Tensor, *rest: Any) -> Any:
        """Return the loss of one model, its misaligned term weighted by the confidences that are given."""
        pairs, alike, state, log_c = rest
        sources, classes, mask = pairs
        before = MidasState(*state)
        found = midas_objective(fused, own, mixed, labels, Pairs(*pairs), alike, before, weight=weight)
        if mixed is None or log_c is None:
            return found.terms.total.mean(), tuple(found.state)
        versions, batch, _ = mixed.shape
        logs = mixed.log_softmax(dim=-1)
        taken = torch.stack([logs.gather(2, each[..., None])[..., 0] for each in classes])
        weighed = weigh_pairs(log_c, taken.detach(), mask, sources, alike, before)
        misaligned = -(weighed.soft_weights * taken).sum() / (versions * batch)
        rest_of_it = (found.terms.aligned + found.terms.unimodal.sum(dim=0)).mean()
        return rest_of_it + weight * misaligned, tuple(weighed.state)


class EvenLabels(GivenConfidence):
    """MIDAS with 1/M for each modality in the place of the confidence: what the soft labels do at all."""

    title = "MIDAS (even labels)"

    def more(self, batch: Batch) -> Tensor:
        """Return the logarithm of equal confidences."""
        models, size = batch.labels.shape
        return torch.zeros(models, self.count, size)


class RememberedConfidence(GivenConfidence):
    """MIDAS with the confidence of a pass over the training data after each epoch, averaged over the epochs.

    c <- momentum * c + (1 - momentum) * c of now; in the first epoch the confidence of the step itself.
    """

    title = "MIDAS (running average)"
    momentum: ClassVar[float] = 0.9

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.memory: Tensor | None = None  # (K, M, N)

    @torch.no_grad()
    def end_epoch(self, model: Model, training: TrainingData, epoch: int) -> None:
        """Take the confidence at the class of each sample into the average."""
        parts = []
        for batch in training.batches(epoch):
            own = torch.stack(model.unimodal(model.features(batch.inputs)), dim=1).softmax(dim=-1)
            index = batch.labels[:, None, :, None].expand(-1, own.shape[1], -1, 1)
            parts.append(own.gather(3, index)[..., 0])
        now = torch.cat(parts, dim=2)
        self.memory = now if self.memory is None else self.momentum * self.memory + (1 - self.momentum) * now

    def more(self, batch: Batch) -> Tensor | None:
        """Return the logarithm of what is remembered, None in the first epoch."""
        if self.memory is None:
            return None
        index = batch.index[:, None, :].expand(-1, self.memory.shape[1], -1)
        return self.memory.gather(2, index).clamp_min(FLOOR).log()


class PreviousEpoch(RememberedConfidence):
    """MIDAS with the confidence after the previous epoch."""

    title = "MIDAS (previous epoch)"
    momentum = 0.0


class OutOfFold(GivenConfidence):
    """MIDAS with the confidence of classifiers that have not seen the sample.

    Multinomial logistic regression on the inputs of each modality, five folds, fitted once before the training: as sure
    as a modality deserves, whatever the encoders have memorised.
    """

    title = "MIDAS (out of fold)"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.known: Tensor | None = None  # (K, M, N)

    def start_epoch(self, model: Model, training: TrainingData, epoch: int) -> None:
        """Fit the classifiers before the first epoch."""
        if self.known is None:
            self.known = self._fit(training)

    def more(self, batch: Batch) -> Tensor:
        """Return log c of the classifiers."""
        assert self.known is not None
        return self.known.gather(2, batch.index[:, None, :].expand(-1, self.known.shape[1], -1))

    def _fit(self, training: TrainingData) -> Tensor:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict

        batches = list(training.batches(0))
        labels = torch.cat([batch.labels for batch in batches], dim=1).numpy()
        inputs = [torch.cat([batch.inputs[m] for batch in batches], dim=1) for m in range(self.count)]
        rows = np.arange(labels.shape[1])
        found: dict[int, Any] = {}
        for k, seed in enumerate(self.random.seeds):
            if seed not in found:
                fits = [
                    cross_val_predict(LogisticRegression(C=0.1, max_iter=200), x[k], labels[k], method="predict_proba")
                    for x in inputs
                ]
                found[seed] = np.log(np.stack([p[rows, labels[k]] for p in fits]).clip(FLOOR))
        stacked = np.stack([found[seed] for seed in self.random.seeds])
        return torch.from_numpy(stacked.astype(np.float32))


class Temperature(Midas):
    """MIDAS whose confidences come from softmax(z^m / 3): sure ones become less so, in the soft labels alone."""

    title = "MIDAS (temperature)"
    temperature: ClassVar[float] = 3.0

    def total(self, weight: Any, fused: Tensor, own: Any, mixed: Any, labels: Tensor, *rest: Any) -> Any:
        """Return the loss of one model, the confidences of its soft labels at the temperature."""
        logs = [(z.detach() / self.temperature).log_softmax(dim=-1).gather(1, labels[:, None])[:, 0] for z in own]
        return GivenConfidence.total(self, weight, fused, own, mixed, labels, *rest[:-1], torch.stack(logs))  # type: ignore[arg-type]


class Smoothed(Midas):
    """MIDAS with label smoothing of 0.1 in every cross-entropy: no head is driven to be sure."""

    title = "MIDAS (label smoothing)"
    smoothing: ClassVar[float] = 0.1

    def total(self, weight: Any, fused: Tensor, own: Any, mixed: Any, labels: Tensor, *rest: Any) -> Any:
        """Return the loss of one model, its labels smoothed."""
        pairs, alike, state, _ = rest
        targets = Targets(labels, label_smoothing=self.smoothing)
        found = midas_objective(fused, own, mixed, targets, Pairs(*pairs), alike, MidasState(*state), weight=weight)
        return found.terms.total.mean(), tuple(found.state)
