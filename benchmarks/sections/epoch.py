"""A whole training epoch: MIDAS against joint training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.timing import QUICK, Effort, interleave
from midas_core.adapters.torch import MidasLoss

TARGET = 1.03
CLASSES, BATCH, SAMPLES, PIXELS = 6, 64, 256, 64
EFFORT = Effort(block=0.0, budget=80.0, fewest=7, most=25)


def measure(settings: Settings) -> list[Result]:
    """Time epochs with ResNet-18 over random pictures of one and of three channels, as spectrograms and frames are."""
    samples, pixels = (16, 32) if settings.quick else (SAMPLES, PIXELS)
    settings.report("epoch with ResNet-18")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pictures = [torch.randn(samples, channels, pixels, pixels) for channels in (1, 3)]
        data = TensorDataset(*pictures, torch.randint(CLASSES, (samples,)))
        loader = DataLoader(data, batch_size=min(BATCH, samples // 2), shuffle=True, drop_last=True)
        epochs = {
            kind: epoch(loader, resnets(small=settings.quick), settings.device, kind) for kind in ("MIDAS", "joint")
        }
        times = interleave(epochs, QUICK if settings.quick else EFFORT)
    size = f"{samples} samples, {pixels} x {pixels} pixels"
    return [Result.of_ratio(times, "MIDAS", "joint", size, TARGET, "epoch with ResNet-18")]


class Encoder(nn.Module):
    """A model of Transformers, from its one input to what it pools, shape (B, D)."""

    def __init__(self, model: Any, width: int) -> None:
        super().__init__()
        self.model = model
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature."""
        pooled: Tensor = self.model(x).pooler_output
        return pooled.flatten(1)


def epoch(
    batches: Iterable[Sequence[Tensor]],
    encoders: Sequence[Encoder],
    device: str,
    kind: str,
    *,
    half: bool = False,
    compiler: Callable[[Any], Any] = lambda function: function,
) -> Callable[[], None]:
    """Return a function that trains two encoders and a linear head on all batches once.

    Parameters
    ----------
    batches : iterable of (input, input, labels)
    encoders : sequence of two Encoder
    device : str
    kind : {"MIDAS", "joint", "joint + unimodal"}
    half : bool
        Whether the forward pass runs under autocast to bfloat16.
    compiler : callable
        Takes the loss of a batch, as `torch.compile` does.
    """
    modules = nn.ModuleList(encoders).to(device)
    widths = [encoder.width for encoder in encoders]
    head = nn.Linear(sum(widths), CLASSES).to(device)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=widths, seed=0).to(device)
    trained = [modules, head] if kind == "joint" else [modules, head, criterion]
    parameters = [p for module in trained for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def loss_of(inputs: list[Tensor], labels: Tensor) -> Tensor:
        features = [encoder(x) for encoder, x in zip(modules, inputs, strict=True)]
        if kind == "MIDAS":
            total: Tensor = criterion(features, labels, head=head)
            return total
        total = functional.cross_entropy(head(torch.cat(features, dim=1)), labels)
        if kind == "joint + unimodal":
            for unimodal_head, feature in zip(criterion.unimodal_heads, features, strict=True):
                total = total + functional.cross_entropy(unimodal_head(feature), labels)
        return total

    loss_of_batch = compiler(loss_of)

    def run() -> None:
        for batch in batches:
            *inputs, labels = (x.to(device) for x in batch)
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16) if half else nullcontext():
                loss = loss_of_batch(inputs, labels)
            loss.backward()
            optimizer.step()

    return run


def resnets(*, small: bool) -> list[Encoder]:
    """Return a ResNet-18 for one channel and one for three, or small ones of that kind, with random weights."""
    from transformers import ResNetConfig, ResNetModel

    widths = [8, 8, 16, 16] if small else [64, 128, 256, 512]
    more: dict[str, Any] = {"hidden_sizes": widths, "depths": [2, 2, 2, 2], "layer_type": "basic"}
    configs = [ResNetConfig(num_channels=channels, embedding_size=widths[0], **more) for channels in (1, 3)]
    return [Encoder(ResNetModel(config), widths[-1]) for config in configs]


def vit_and_bert(*, small: bool) -> list[Encoder]:
    """Return a ViT-B/16 and a BERT-base, or small ones of that kind, with random weights."""
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    sizes = sizes if small else {}
    image, text = ViTConfig(image_size=32 if small else 224, **sizes), BertConfig(**sizes)
    return [Encoder(ViTModel(image), image.hidden_size), Encoder(BertModel(text), text.hidden_size)]
