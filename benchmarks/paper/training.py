"""Training as in the paper: real encoders, SGD and StepLR, `MidasLoss` in a plain loop, on one process or several."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.paper.cache import Cache
from benchmarks.paper.decoding import Text
from benchmarks.paper.encoders import SIZES, make_encoder, make_tokenizer
from benchmarks.paper.experiments import BATCH_SIZE, DECAY, ETA, MOMENTUM, WEIGHT_DECAY, Experiment
from benchmarks.paper.listing import DataError, Sample
from benchmarks.paper.loading import Collate, Samples
from benchmarks.paper.splits import Splits
from midas_core.adapters.torch import MidasLoss

METHODS = ("joint", "MIDAS")
SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Plan:
    """Settings of one run: method, seed, and what the experiment or the command says."""

    method: str
    seed: int
    epochs: int
    step: int
    warmup_epochs: int
    learning_rate: float
    weight: float
    pretrained: bool
    encoders: str
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls, experiment: Experiment, method: str, seed: int, epochs: int | None, encoders: str, splits: Splits
    ) -> Plan:
        """Return the settings of the paper; with other epochs, learning rate and warm-up change at the same share."""
        epochs = experiment.epochs if epochs is None else epochs
        factor = epochs / experiment.epochs
        return cls(
            method,
            seed,
            epochs,
            max(1, round(factor * experiment.step)),
            round(factor * experiment.warmup_epochs),
            experiment.learning_rate,
            experiment.weight,
            experiment.pretrained,
            encoders,
            tuple(map(len, splits)),
        )


@dataclass
class Progress:
    """What is noted after each epoch, and the best weights: the part of a checkpoint that Accelerate does not know."""

    training_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Return lists and tensors."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from them."""
        vars(self).update(state)


class Network(nn.Module):
    """Encoders, a linear head on the concatenated features, and the criterion, which DDP wraps together."""

    def __init__(self, encoders: Sequence[nn.Module], num_classes: int, plan: Plan) -> None:
        super().__init__()
        widths = [int(encoder.width) for encoder in encoders]  # type: ignore[arg-type]
        self.encoders, self.head = nn.ModuleList(encoders), nn.Linear(sum(widths), num_classes)
        self.criterion = None
        if plan.method == "MIDAS":
            self.criterion = MidasLoss(
                num_classes=num_classes,
                feature_dims=widths,
                weight=plan.weight,
                eta=ETA,
                warmup_epochs=plan.warmup_epochs,
                seed=plan.seed,
            )

    def encode(self, inputs: Sequence[Any]) -> list[Tensor]:
        """Return M features (B, D_m)."""
        return [encoder(x) for encoder, x in zip(self.encoders, inputs, strict=True)]

    def forward(self, inputs: Sequence[Any], labels: Tensor) -> Tensor:
        """Return the loss of a batch."""
        features = self.encode(inputs)
        if self.criterion is None:
            return functional.cross_entropy(self.head(torch.cat(features, dim=1)), labels)
        return self.criterion(features, labels, head=self.head)


def make_accelerator() -> Any:
    """Return what places models and data, on a GPU where there is one, and joins the processes of ``torchrun``.

    Raises ``DataError`` if a batch cannot be shared equally.
    """
    from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs

    accelerator = Accelerator(
        dataloader_config=DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True),
        # The warm-up leaves the fused head without gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if BATCH_SIZE % accelerator.num_processes:
        raise DataError(f"processes: expected a divisor of the batch of {BATCH_SIZE}, got {accelerator.num_processes}")
    return accelerator


class Training:
    """The training of one plan, which can stop after any epoch and go on."""

    def __init__(
        self,
        splits: Splits,
        decoders: Mapping[str, Any],
        num_classes: int,
        cache: Cache,
        plan: Plan,
        accelerator: Any,
        workers: int = 0,
    ) -> None:
        from accelerate.utils import set_seed

        set_seed(plan.seed)
        self.plan, self.accelerator, self.progress = plan, accelerator, Progress()
        size = SIZES[plan.encoders]
        texts = [str(x.sources[m]) for m, d in enumerate(decoders.values()) if isinstance(d, Text) for x in splits[0]]
        tokenizer = make_tokenizer(texts, size) if texts else None
        vocabulary = 0 if tokenizer is None else len(tokenizer)
        self.network = Network(
            [make_encoder(x, size, pretrained=plan.pretrained, vocabulary=vocabulary) for x in decoders.values()],
            num_classes,
            plan,
        )
        self.sgd = torch.optim.SGD(
            self.network.parameters(), plan.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.schedule = torch.optim.lr_scheduler.StepLR(self.sgd, plan.step, DECAY)
        accelerator.register_for_checkpointing(self.schedule, self.progress)
        self.model, self.optimizer = accelerator.prepare(self.network, self.sgd)

        def loader(samples: list[Sample], *, training: bool = False) -> Any:
            return accelerator.prepare(
                DataLoader(
                    Samples(samples, decoders, cache, crop=size.crop, training=training),
                    BATCH_SIZE,
                    shuffle=training,
                    num_workers=workers,
                    collate_fn=Collate(decoders, tokenizer),
                )
            )

        self.batches = loader(splits.training, training=True)
        self.unchanged = {name: loader(samples) for name, samples in zip(SPLITS, splits, strict=True)}

    def run(self, folder: Path, report: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Train to the end, from the last checkpoint of the folder where there is one, and return the results.

        ``report`` is called for each epoch, also of the checkpoint.
        """
        done = self._load(folder)
        for epoch in range(self.plan.epochs):
            if epoch >= done:
                self._train_epoch(epoch)
                self._save(folder, epoch + 1)
            report()
        if self.progress.best:
            self.network.load_state_dict(self.progress.best)
        logits, labels, _ = self.predict("test")
        accuracies = self.progress.validation_accuracy
        return {
            "training_loss": self.progress.training_loss,
            "validation_accuracy": accuracies,
            "best_epoch": max((k for k, x in enumerate(accuracies, 1) if x == max(accuracies)), default=0),
            **_scores(logits, labels),
        }

    def _train_epoch(self, epoch: int) -> None:
        self.model.train()
        if self.network.criterion is not None:
            self.network.criterion.set_epoch(epoch)
        self.batches.set_epoch(epoch)
        losses = []
        for inputs, labels in self.batches:
            loss = self.model(inputs, labels)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(loss.detach())
        self.schedule.step()
        self.progress.training_loss.append(self.accelerator.reduce(torch.stack(losses).mean(), "mean").item())
        logits, labels, _ = self.predict("validation")
        accuracy = _scores(logits, labels)["accuracy"]
        if accuracy >= max(self.progress.validation_accuracy, default=0.0):
            self.progress.best = copy.deepcopy(self.network.state_dict())
        self.progress.validation_accuracy.append(accuracy)

    @torch.no_grad()
    def predict(self, split: str) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return logits (N, C), labels (N,) and M features (N, D_m) of a split, in the order of its samples."""
        self.model.eval()
        rows = []
        for inputs, labels in self.unchanged[split]:
            features = self.network.encode(inputs)
            row = (self.network.head(torch.cat(features, dim=1)), labels, *features)
            rows.append([x.float().cpu() for x in self.accelerator.gather_for_metrics(row)])
        logits, labels, *features = (torch.cat(column) for column in zip(*rows, strict=True))
        return logits, labels.long(), features

    def _save(self, folder: Path, epoch: int) -> None:
        """Keep a checkpoint as a whole or not at all, and delete those before it."""
        place = folder / f"epoch-{epoch}"
        partial = place.with_suffix(".partial")
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (partial / "plan.json").write_text(json.dumps(asdict(self.plan)))
            partial.rename(place)
            for other in folder.iterdir():
                if other != place:
                    shutil.rmtree(other)
        self.accelerator.wait_for_everyone()

    def _load(self, folder: Path) -> int:
        """Go on from the last checkpoint of this plan, and return the number of its epochs."""
        finished = sorted(int(path.name.split("-")[1]) for path in folder.glob("epoch-*") if path.suffix != ".partial")
        self.accelerator.wait_for_everyone()
        if not finished:
            return 0
        place = folder / f"epoch-{finished[-1]}"
        if json.loads((place / "plan.json").read_text()) != json.loads(json.dumps(asdict(self.plan))):
            raise DataError(f"{place}: expected a checkpoint of this run, got one with other settings; it is kept")
        self.accelerator.load_state(str(place))
        return finished[-1]


def _scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    predicted = logits.argmax(dim=1)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "cross_entropy": functional.cross_entropy(logits, labels).item(),
    }


def write_features(
    path: Path, training: Training, modalities: Sequence[str], classes: Sequence[str], splits: Splits
) -> None:
    """Write the features of the encoders as ``midas compare`` reads them, with the splits as folds."""
    features = [training.predict(name) for name in SPLITS]
    if not training.accelerator.is_main_process:
        return
    names = np.array(classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        labels=np.concatenate([names[labels.numpy()] for _, labels, _ in features]),
        fold=np.repeat([0, 1, 2], [len(samples) for samples in splits]),
        groups=np.array([sample.group for samples in splits for sample in samples]),
        **{name: np.concatenate([x[m].numpy() for _, _, x in features]) for m, name in enumerate(modalities)},  # type: ignore[arg-type]
    )
