"""Training as in the paper: SGD and StepLR, real encoders as a stack of one, on as many processes as there are."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from benchmarks.accuracy.datasets.base import Sample
from benchmarks.accuracy.datasets.cache import Cache
from benchmarks.accuracy.datasets.decoding import Text
from benchmarks.accuracy.datasets.loading import Collate, Samples
from benchmarks.accuracy.datasets.splits import Splits
from benchmarks.accuracy.encoders import Size, make_encoder, make_tokenizer
from benchmarks.accuracy.methods.base import Batch, Method, Model, Random, Setup, Single
from benchmarks.accuracy.paper import DECAY, MOMENTUM, WEIGHT_DECAY
from midas_core.data import Split


@dataclass(frozen=True)
class Plan:
    """What one run is trained with.

    Attributes
    ----------
    seed : int
        Of the first weights, the order of the batches, crops and whatever the method draws.
    strength : float
        Of the method's one hyperparameter.
    learning_rate : float
    epochs, step : int
        Of the training; after which the learning rate falls.
    batch_size : int
        Of all processes together.
    pretrained : bool
    size : Size
    workers : int
        Processes that load the data, for each process that trains.
    """

    seed: int
    strength: float
    learning_rate: float
    epochs: int
    step: int
    batch_size: int
    pretrained: bool
    size: Size
    workers: int = 0


@dataclass
class Trained:
    """A model after training.

    Attributes
    ----------
    method : Method
    seen : dict of Seen
        "best": at the best validation accuracy, the last of equal ones. "end": as training left the model.
    best_epoch : int
    validation_accuracy, training_loss : list of float
        After each epoch; in each epoch.
    seconds : float
        Of training alone.
    """

    method: Method
    seen: dict[str, Seen] = field(default_factory=dict)
    best_epoch: int = 0
    validation_accuracy: list[float] = field(default_factory=list)
    training_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What a model makes of validation and test data: the features, and the heads that go on from there."""

    heads: Model
    validation: Split
    test: Split


class Loss(nn.Module):
    """The loss of a method as a module: what is wrapped where gradients are averaged over processes.

    Parameters
    ----------
    model : Model
    method : Method
    """

    def __init__(self, model: Model, method: Method) -> None:
        super().__init__()
        self.model, self.own = model, nn.ParameterList(method.parameters())
        self._loss = method.loss

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self._loss(self.model, batch).sum()


class Order(Sampler[int]):
    """The samples of an epoch in a random order, the same in every process."""

    def __init__(self, count: int, seed: int) -> None:
        self.places, self._draw = torch.arange(count), torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        yield from self.places[torch.randperm(len(self.places), generator=self._draw)].tolist()

    def __len__(self) -> int:
        return len(self.places)


class TrainingSet:
    """The training data in its order, for a method that takes a pass of its own over it."""

    def __init__(self, loader: Any, count: int) -> None:
        self._loader, self._count = loader, count

    def __len__(self) -> int:
        return self._count

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield all samples once."""
        for given in self._loader:
            yield as_batch(given, epoch)


def as_batch(given: tuple[list[Any], Tensor, Tensor], epoch: int) -> Batch:
    """Return what a loader gives as the batch of a stack of one."""
    inputs, labels, places = given
    stacked = [{name: x[None] for name, x in each.items()} if isinstance(each, dict) else each[None] for each in inputs]
    return Batch(stacked, labels[None], places[None], epoch)


def train(
    splits: Splits,
    decoders: Mapping[str, Any],
    num_classes: int,
    cache: Cache,
    make_method: Callable[[Setup], Method],
    plan: Plan,
    accelerator: Any,
    *,
    report: Callable[[int, float], None] = lambda epoch, accuracy: None,
) -> Trained:
    """Train one method with one seed.

    Parameters
    ----------
    splits : Splits
    decoders : dict of M decoders, by modality name
    num_classes : int
    cache : Cache
    make_method : callable
        From a `Setup` to a `Method`.
    plan : Plan
    accelerator : accelerate.Accelerator
        With ``split_batches``; places the model, and averages the gradients where there are several processes.
    report : callable
        Told after each epoch its number and the validation accuracy.
    """
    torch.manual_seed(plan.seed)
    model, tokenizer = _model(splits, decoders, num_classes, plan)
    random = Random([plan.seed], stream=1, device=accelerator.device)
    strength = torch.tensor([plan.strength], device=accelerator.device)
    method = make_method(Setup(num_classes, model.feature_dims, strength, random, plan.epochs))
    loss: Any = Loss(model, method)
    optimizer: Any = torch.optim.SGD(
        loss.parameters(), lr=plan.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, plan.step, DECAY)
    loss, optimizer = accelerator.prepare(loss, optimizer)

    order = Order(len(splits.training), plan.seed)

    def loader(samples: Sequence[Sample], sampler: Order | None = None) -> Any:
        crop, collate = plan.size.crop, Collate(decoders, tokenizer)
        data = Samples(samples, decoders, cache, crop=crop, training=sampler is not None)
        return accelerator.prepare(
            DataLoader(data, plan.batch_size, sampler=sampler, num_workers=plan.workers, collate_fn=collate)
        )

    training, validation = loader(splits.training, order), loader(splits.validation)
    whole = TrainingSet(loader(splits.training), len(splits.training))
    run = Trained(method)
    best: dict[str, Any] = {}
    for epoch in range(plan.epochs):
        start = time.perf_counter()
        model.train()
        chosen = method.start_epoch(model, whole, epoch)
        order.places = torch.arange(len(splits.training)) if chosen is None else chosen[0].cpu()
        total, steps = torch.zeros((), device=accelerator.device), 0
        for given in training:
            value = loss(as_batch(given, epoch))
            optimizer.zero_grad()
            accelerator.backward(value)
            method.after_backward(model)
            optimizer.step()
            total += value.detach()
            steps += 1
        schedule.step()
        method.end_epoch(model, whole, epoch)
        run.training_loss.append(accelerator.reduce(total / steps, "mean").item())
        run.seconds += time.perf_counter() - start
        accuracy = _accuracy(method, model, validation, accelerator)
        if accuracy >= max(run.validation_accuracy, default=0.0):
            run.best_epoch = epoch + 1
            best = copy.deepcopy(model.state_dict())
        run.validation_accuracy.append(accuracy)
        report(epoch + 1, accuracy)
    test = loader(splits.test)
    run.seen["end"] = _seen(model, validation, test, accelerator)
    model.load_state_dict(best)
    run.seen["best"] = _seen(model, validation, test, accelerator)
    return run


def _model(splits: Splits, decoders: Mapping[str, Any], num_classes: int, plan: Plan) -> tuple[Model, Any]:
    places = [place for place, decoder in enumerate(decoders.values()) if isinstance(decoder, Text)]
    texts = [str(sample.sources[place]) for sample in splits.training for place in places]
    tokenizer = make_tokenizer(texts, plan.size) if places else None
    vocabulary = 0 if tokenizer is None else len(tokenizer)
    encoders = [
        make_encoder(each, plan.size, pretrained=plan.pretrained, vocabulary=vocabulary) for each in decoders.values()
    ]
    widths = [encoder.width for encoder in encoders]
    return Model([Single(encoder) for encoder in encoders], widths, num_classes, Random([plan.seed])), tokenizer


@torch.no_grad()
def _accuracy(method: Method, model: Model, loader: Any, accelerator: Any) -> float:
    hits = [
        (method.logits(model, features)[0].argmax(dim=1) == labels).cpu()
        for features, labels in _features(model, loader, accelerator)
    ]
    return torch.cat(hits).double().mean().item()


def _seen(model: Model, validation: Any, test: Any, accelerator: Any) -> Seen:
    heads = copy.deepcopy(model).cpu()
    heads.encoders = nn.ModuleList(nn.Identity() for _ in model.encoders)
    return Seen(heads, _split(model, validation, accelerator), _split(model, test, accelerator))


def _split(model: Model, loader: Any, accelerator: Any) -> Split:
    """Return the features of a split as if they were its data."""
    found = list(_features(model, loader, accelerator))
    views = zip(*([x[0].float().cpu() for x in features] for features, _ in found), strict=True)
    return Split(
        tuple(torch.cat(view).numpy() for view in views), torch.cat([labels.cpu() for _, labels in found]).numpy()
    )


@torch.no_grad()
def _features(model: Model, loader: Any, accelerator: Any) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield features, M of (1, B, D_m), and labels (B,) of the whole batch, in every process."""
    model.eval()
    for given in loader:
        batch = as_batch(given, 0)
        features = [x[0] for x in model.features(batch.inputs)]
        gathered, labels = accelerator.gather_for_metrics((features, batch.labels[0]))
        yield [x[None] for x in gathered], labels
