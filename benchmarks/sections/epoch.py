"""A whole training epoch with ResNet-18 encoders: MIDAS against joint training."""

from __future__ import annotations

from collections.abc import Callable
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
EFFORT = Effort(block=0.0, budget=120.0, fewest=7, most=25)


def measure(settings: Settings) -> list[Result]:
    """Time epochs over random pictures of one and of three channels, as spectrograms and frames are."""
    samples, pixels = (16, 32) if settings.quick else (SAMPLES, PIXELS)
    settings.report("epoch with ResNet-18")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        views = [torch.randn(samples, channels, pixels, pixels) for channels in (1, 3)]
        data = TensorDataset(*views, torch.randint(CLASSES, (samples,)))
        loader = DataLoader(data, batch_size=min(BATCH, samples // 2), shuffle=True, drop_last=True)
        epochs = {
            "MIDAS": epoch(loader, settings, midas=True),
            "joint": epoch(loader, settings, midas=False),
        }
        times = interleave(epochs, QUICK if settings.quick else EFFORT)
    size = f"{samples} samples, {pixels} x {pixels} pixels"
    return [Result.of_ratio(times, "MIDAS", "joint", size, TARGET, "epoch with ResNet-18")]


def epoch(loader: Any, settings: Settings, *, midas: bool) -> Callable[[], None]:
    """Return a function that trains two encoders and a linear head on all batches once."""
    encoders = [_resnet18(channels, small=settings.quick).to(settings.device) for channels in (1, 3)]
    width = encoders[0].config.hidden_sizes[-1]
    head = nn.Linear(2 * width, CLASSES).to(settings.device)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=(width, width), seed=0).to(settings.device)
    modules = [*encoders, head, criterion] if midas else [*encoders, head]
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def loss_of(features: list[Tensor], labels: Tensor) -> Tensor:
        if midas:
            total: Tensor = criterion(features, labels, head=head)
            return total
        return functional.cross_entropy(head(torch.cat(features, dim=1)), labels)

    def run() -> None:
        for batch in loader:
            *views, labels = (x.to(settings.device) for x in batch)
            features = [encoder(view).pooler_output.flatten(1) for encoder, view in zip(encoders, views, strict=True)]
            optimizer.zero_grad()
            loss_of(features, labels).backward()
            optimizer.step()

    return run


def _resnet18(channels: int, *, small: bool) -> Any:
    from transformers import ResNetConfig, ResNetModel

    widths = [8, 8, 16, 16] if small else [64, 128, 256, 512]
    config = ResNetConfig(
        num_channels=channels,
        embedding_size=widths[0],
        hidden_sizes=widths,
        depths=[2, 2, 2, 2],
        layer_type="basic",
    )
    return ResNetModel(config)
