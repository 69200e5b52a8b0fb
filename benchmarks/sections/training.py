"""Whole training steps: encoders, heads and Adam, with MIDAS and with the joint and unimodal losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.timing import clock_of, interleave
from midas_core.adapters.torch import MidasLoss

BATCH, CLASSES, WIDTH = 64, 10, 64
TARGETS = {"dense": 1.5, "dense, compiled": 1.3, "convolutions": 1.05, "MLP head on embeddings": 1.5}


def measure(settings: Settings) -> list[Result]:
    """Time steps with small encoders, and with a head of two layers on given embeddings."""
    rows = []
    for name, target in TARGETS.items():
        settings.report(f"training step, {name}")
        steps = {
            "MIDAS": training_step(name, True, settings),
            "joint + unimodal": training_step(name, False, settings),
        }
        times = interleave(steps, settings.effort, clock_of(settings.device))
        rows.append(Result.of_ratio(times, "MIDAS", "joint + unimodal", name, target, "with Adam"))
    return rows


def training_step(kind: str, with_midas: bool, settings: Settings) -> Callable[[], None]:
    """Return a training step on random data, the same for both losses."""
    torch.manual_seed(0)
    encoders, inputs, widths, head = model_of(kind)
    encoders.to(settings.device)
    head.to(settings.device)
    inputs, labels = [x.to(settings.device) for x in inputs], torch.randint(CLASSES, (BATCH,), device=settings.device)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=widths, seed=0).to(settings.device)
    modules = nn.ModuleList([encoders, head, criterion])
    optimizer = torch.optim.Adam(modules.parameters(), foreach=True)

    def loss(inputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        features = [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]
        if with_midas:
            total: Tensor = criterion(features, labels, head=head)
            return total
        total = functional.cross_entropy(head(torch.cat(features, dim=1)), labels)
        for unimodal_head, x in zip(criterion.unimodal_heads, features, strict=True):
            total = total + functional.cross_entropy(unimodal_head(x), labels)
        return total

    if "compiled" in kind:
        loss = torch.compile(loss, dynamic=False, backend="aot_eager" if settings.quick else "inductor")

    def step() -> None:
        optimizer.zero_grad()
        loss(inputs, labels).backward()
        optimizer.step()

    return step


def model_of(kind: str) -> tuple[nn.ModuleList, list[Tensor], list[int], nn.Module]:
    """Return encoders, their inputs, the widths of the features, and the fused head."""
    if kind == "convolutions":
        encoders = [_convolutions() for _ in range(2)]
        return nn.ModuleList(encoders), [torch.randn(BATCH, 1, 16, 16) for _ in range(2)], [WIDTH] * 2, _linear()
    if kind.startswith("MLP"):
        widths = [768, 512]
        head = nn.Sequential(nn.Linear(sum(widths), 256), nn.ReLU(), nn.Linear(256, CLASSES))
        return nn.ModuleList([nn.Identity(), nn.Identity()]), [torch.randn(BATCH, d) for d in widths], widths, head
    encoders = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(2)]
    return nn.ModuleList(encoders), [torch.randn(BATCH, WIDTH) for _ in range(2)], [WIDTH] * 2, _linear()


def _linear() -> nn.Module:
    return nn.Linear(2 * WIDTH, CLASSES)


def _convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, WIDTH)),
    )
