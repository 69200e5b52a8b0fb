"""Training as in the paper: SGD and StepLR, real encoders as a stack of one, on as many processes as there are."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from benchmarks.accuracy.checkpoint import Checkpoint
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
class History:
    """What is noted after each epoch.

    Attributes
    ----------
    validation_accuracy, training_loss : list of float
    seconds : float
        Of training alone.
    """

    validation_accuracy: list[float] = field(default_factory=list)
    training_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy, the last of equal ones, from 1."""
        best = max(self.validation_accuracy)
        return max(epoch for epoch, each in enumerate(self.validation_accuracy, start=1) if each == best)


@dataclass(frozen=True)
class Trained:
    """A model after training.

    Attributes
    ----------
    method : Method
    history : History
    seen : dict of Seen
        "best": at the best validation accuracy, the last of equal ones. "end": as training left the model.
    """

    method: Method
    history: History
    seen: dict[str, Seen]


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
        self.places, self.random = torch.arange(count), torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        yield from self.places[torch.randperm(len(self.places), generator=self.random)].tolist()

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


class Training:
    """The training of one method with one seed, which can stop after any epoch and go on.

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
    """

    def __init__(
        self,
        splits: Splits,
        decoders: Mapping[str, Any],
        num_classes: int,
        cache: Cache,
        make_method: Callable[[Setup], Method],
        plan: Plan,
        accelerator: Any,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.accelerator = plan, accelerator
        self.model, tokenizer = _model(splits, decoders, num_classes, plan)
        self.random = Random([plan.seed], stream=1, device=accelerator.device)
        strength = torch.tensor([plan.strength], device=accelerator.device)
        self.method = make_method(Setup(num_classes, self.model.feature_dims, strength, self.random, plan.epochs))
        self.step = Loss(self.model, self.method)
        self.sgd = torch.optim.SGD(
            self.step.parameters(), plan.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.schedule = torch.optim.lr_scheduler.StepLR(self.sgd, plan.step, DECAY)
        self.loss, self.optimizer = accelerator.prepare(self.step, self.sgd)
        self.history, self.best = History(), copy.deepcopy(self.model.state_dict())

        self.order, self.count = Order(len(splits.training), plan.seed), len(splits.training)
        self._data = partial(Samples, decoders=decoders, cache=cache, crop=plan.size.crop)
        self._collate = Collate(decoders, tokenizer)
        self._training = self._loader(splits.training, self.order)
        self._validation, self._test = self._loader(splits.validation), self._loader(splits.test)
        self._whole = TrainingSet(self._loader(splits.training), self.count)

    def _loader(self, samples: Sequence[Sample], sampler: Order | None = None) -> Any:
        data, plan = self._data(samples, training=sampler is not None), self.plan
        return self.accelerator.prepare(
            DataLoader(data, plan.batch_size, sampler=sampler, num_workers=plan.workers, collate_fn=self._collate)
        )

    def run(self, checkpoint: Checkpoint, report: Callable[[], None]) -> Trained:
        """Train to the end, from the checkpoint where there is one; ``report`` is called for each epoch."""
        kept = checkpoint.read(self.accelerator.device)
        # Nobody may find what another has just written.
        self.accelerator.wait_for_everyone()
        if kept is not None:
            self.load_state(kept)
        for _ in self.history.training_loss:
            report()
        for epoch in range(len(self.history.training_loss), self.plan.epochs):
            self._epoch(epoch)
            if self.accelerator.is_main_process:
                checkpoint.write(self.state())
            report()
        return self._trained()

    def state(self) -> dict[str, Any]:
        """Return tensors, numbers and text from which `load_state` goes on as if nothing had happened."""
        return {
            "step": self.step.state_dict(),
            "best": self.best,
            "sgd": self.sgd.state_dict(),
            "schedule": self.schedule.state_dict(),
            "method": self.method.state_dict(),
            "history": vars(self.history),
            "random": self.random.get_state(),
            "order": self.order.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step.load_state_dict(state["step"])
        self.best = state["best"]
        self.sgd.load_state_dict(state["sgd"])
        self.schedule.load_state_dict(state["schedule"])
        self.method.load_state_dict(state["method"])
        self.history = History(**state["history"])
        self.random.set_state(state["random"])
        self.order.random.set_state(state["order"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])

    def _epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        self.model.train()
        chosen = self.method.start_epoch(self.model, self._whole, epoch)
        self.order.places = torch.arange(self.count) if chosen is None else chosen[0].cpu()
        losses = [self._step(as_batch(given, epoch)) for given in self._training]
        self.schedule.step()
        self.method.end_epoch(self.model, self._whole, epoch)
        self.history.training_loss.append(self.accelerator.reduce(torch.stack(losses).mean(), "mean").item())
        self.history.seconds += time.perf_counter() - start
        accuracy = _accuracy(self.method, self.model, self._validation, self.accelerator)
        if accuracy >= max(self.history.validation_accuracy, default=0.0):
            self.best = copy.deepcopy(self.model.state_dict())
        self.history.validation_accuracy.append(accuracy)

    def _step(self, batch: Batch) -> Tensor:
        loss: Tensor = self.loss(batch)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.method.after_backward(self.model)
        self.optimizer.step()
        return loss.detach()

    def _trained(self) -> Trained:
        seen = {"end": _seen(self.model, self._validation, self._test, self.accelerator)}
        self.model.load_state_dict(self.best)
        seen["best"] = _seen(self.model, self._validation, self._test, self.accelerator)
        return Trained(self.method, self.history, seen)


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
