"""The one training loop of the demo, the same for every method."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.data import Split, Task
from midas_core.demo.evaluation import Scores, predict
from midas_core.demo.methods import Method
from midas_core.demo.models import Network
from midas_core.diagnostics import Diagnosis, diagnose

POINTS = 60
"""Measurements during training."""


@dataclass(frozen=True)
class Hyperparameters:
    """What is set for one training run.

    Attributes
    ----------
    learning_rate : float
        Of Adam.
    strength : float
        The method's own hyperparameter, where it has one.
    epochs, batch_size : int
    """

    learning_rate: float
    strength: float
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class Point:
    """What is measured now and then during training.

    Attributes
    ----------
    epoch : int
        Epochs done.
    loss : float
        Mean training loss since the last point.
    training_accuracy, validation_accuracy : float
    misaligned_accuracy : float or None
        On the validation data.
    alpha : list of M floats, or None
        The weights of MIDAS.
    unimodal_confidence, fused_confidence : list of M floats, or None
        Mean normalised confidence on misaligned validation pairs, where there are heads to ask.
    """

    epoch: int
    loss: float
    training_accuracy: float
    validation_accuracy: float
    misaligned_accuracy: float | None = None
    alpha: list[float] | None = None
    unimodal_confidence: list[float] | None = None
    fused_confidence: list[float] | None = None


@dataclass
class MethodRun:
    """One method trained with one seed.

    Attributes
    ----------
    method : str
    seed : int
    hyperparameters : Hyperparameters or None
        None for late fusion, which trains nothing.
    seconds : float
        Processor time of training, measuring left out.
    history : list of Point
    best_epoch : int or None
        Of the checkpoint chosen on the validation data.
    validation_accuracy : float
        Of that checkpoint.
    test : Scores or None
        None where the test data was left alone.
    diagnosis : Diagnosis or None
        On the test data, for the runs that are reported.
    """

    method: str
    seed: int
    hyperparameters: Hyperparameters | None
    seconds: float
    history: list[Point] = field(default_factory=list)
    best_epoch: int | None = None
    validation_accuracy: float = 0.0
    test: Scores | None = None
    diagnosis: Diagnosis | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, text, lists and dicts only."""
        content = asdict(replace(self, test=None, diagnosis=None))
        content["test"] = None if self.test is None else self.test._asdict()
        content["diagnosis"] = None if self.diagnosis is None else self.diagnosis.to_dict()
        return content

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> MethodRun:
        """Return what `to_dict` was made of.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or of another kind.
        """
        settings, test, found = (content[key] for key in ("hyperparameters", "test", "diagnosis"))
        given = {
            **content,
            "hyperparameters": None if settings is None else Hyperparameters(**settings),
            "history": [Point(**point) for point in content["history"]],
            "test": None if test is None else Scores(**{**test, "accuracy_alone": tuple(test["accuracy_alone"])}),
            "diagnosis": None if found is None else Diagnosis.from_dict(found),
        }
        return MethodRun(**given)


def restrict(split: Split, only: int | None) -> Split:
    """Return the split with one of its modalities, or as it is."""
    return split if only is None else Split((split.inputs[only],), split.labels, split.origin)


def train(
    task: Task,
    method: Method,
    seed: int,
    hyperparameters: Hyperparameters,
    *,
    report: Callable[[int], None] = lambda epochs: None,
    points: int = POINTS,
) -> tuple[Network, MethodRun]:
    """Train one method with one seed, and go back to the checkpoint with the best validation accuracy.

    Of equal ones the last is taken. The seed sets the first weights and the order of the batches, the same for every
    method.

    Parameters
    ----------
    task : Task
    method : Method
    seed : int
    hyperparameters : Hyperparameters
    report : callable
        Told, now and then, how many epochs have been done since the last time.
    points : int
        About how many measurements are taken, of which the best chooses the checkpoint.

    Returns
    -------
    network : Network
    run : MethodRun
        Without test scores.
    """
    training, validation = restrict(task.training, method.only), restrict(task.validation, method.only)
    views, labels = [torch.from_numpy(x) for x in training.inputs], torch.from_numpy(training.labels)
    epochs, batch_size = hyperparameters.epochs, hyperparameters.batch_size

    torch.manual_seed(seed)
    network = Network([x.shape[1] for x in views], task.num_classes)
    criterion = method.criterion(network.feature_dims, task.num_classes, hyperparameters.strength)
    parameters = [*network.parameters(), *criterion.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=hyperparameters.learning_rate, fused=True)
    order = torch.Generator().manual_seed(seed)

    measure = Measure(network, criterion, training, validation, task.num_classes)
    run = MethodRun(method.key, seed, hyperparameters, seconds=0.0)
    trained = nn.ModuleList([network, criterion])
    best: dict[str, Tensor] = {}
    every = spacing(epochs, points)
    total, steps, since, start = torch.zeros(()), 0, 0, time.process_time()
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels), generator=order).split(batch_size):
            features = network.encode([x[batch] for x in views])
            loss = criterion(features, labels[batch], head=network.head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            steps += 1
        if (epoch + 1) % every and epoch + 1 < epochs:
            continue
        run.seconds += time.process_time() - start
        point = measure(epoch + 1, total.item() / steps)
        run.history.append(point)
        if point.validation_accuracy >= run.validation_accuracy:
            run.validation_accuracy, run.best_epoch = point.validation_accuracy, epoch + 1
            best = copy.deepcopy(trained.state_dict())
        report(epoch + 1 - since)
        total, steps, since, start = torch.zeros(()), 0, epoch + 1, time.process_time()
    trained.load_state_dict(best)
    heads = getattr(criterion, "unimodal_heads", None)
    network.unimodal_heads = None if heads is None else tuple(heads)
    return network.eval(), run


def spacing(epochs: int, points: int = POINTS) -> int:
    """Return the epochs from one measurement to the next."""
    return max(1, epochs // points)


class Measure:
    """Takes the measurements of a `Point`.

    Parameters
    ----------
    network : `Network`, or what has its ``encode`` and ``head``
    criterion : object
        Its ``alpha`` and ``unimodal_heads`` are looked at, where it has them.
    training, validation : Split
    num_classes : int
    """

    def __init__(
        self,
        network: Any,
        criterion: Any,
        training: Split,
        validation: Split,
        num_classes: int,
    ) -> None:
        self.network, self.criterion = network, criterion
        self.training = [torch.from_numpy(x) for x in training.inputs]
        self.training_labels = torch.from_numpy(training.labels)
        self.validation = [torch.from_numpy(x) for x in validation.inputs]
        self.labels = torch.from_numpy(validation.labels)
        self.num_classes = num_classes

    @torch.no_grad()
    def __call__(self, epoch: int, loss: float) -> Point:
        """Return the point after ``epoch`` epochs, ``loss`` the mean training loss since the last one."""
        network = self.network
        fitted = _share(predict(network, network.encode(self.training)) == self.training_labels)
        features = network.encode(self.validation)
        if len(features) == 1:
            return Point(epoch, loss, fitted, _share(predict(network, features) == self.labels))
        found = diagnose(
            network.head,
            features,
            self.labels,
            num_classes=self.num_classes,
            unimodal_heads=getattr(self.criterion, "unimodal_heads", None),
            rounds=2,
            probe=False,
        )
        alpha = getattr(self.criterion, "alpha", None)
        return Point(
            epoch,
            loss,
            fitted,
            found.accuracy,
            misaligned_accuracy=found.misaligned_accuracy,
            alpha=None if alpha is None else alpha.tolist(),
            unimodal_confidence=_known([each.confidence for each in found.modalities]),
            fused_confidence=_known([each.fused_confidence for each in found.modalities]),
        )


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


def _known(values: list[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None
