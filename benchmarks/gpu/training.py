"""Part 3: whole epochs with large encoders, half precision to convergence, and small tasks on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.place import Place
from benchmarks.gpu.record import Record, require
from benchmarks.results import Result
from benchmarks.sections.epoch import CLASSES, Encoder, epoch, resnets, vit_and_bert
from benchmarks.timing import QUICK, Effort, interleave
from midas_core.adapters.torch import MidasLoss
from midas_core.data import Split, Task
from midas_core.data.digits import halves, wide_left

EFFORT = Effort(block=0.0, budget=20.0, fewest=5, most=25)
TARGET = 1.02
SEEDS = 3
EPOCHS, BATCH, RATE = 300, 64, 3e-3
TASKS = {"halves": (halves, 1.0), "wide-left": (wide_left, 5.0)}
"""How to make a task, and the weight of MIDAS on it."""


def run(record: Record, place: Place) -> None:
    """Train everything."""
    half = {"half": True, "compiler": _compiler(place)}
    record.take("epoch, ResNet-18", epochs, place, resnets, _pictures_twice, {})
    record.take("epoch, ResNet-18, bfloat16, torch.compile", epochs, place, resnets, _pictures_twice, half)
    record.take(
        "epoch, ViT-B/16 and BERT-base, bfloat16, torch.compile", epochs, place, vit_and_bert, _picture_and_text, half
    )
    record.take("GradScaler to convergence", scaled, place, halves(0), 1.0)
    for name, (make, weight) in TASKS.items():
        record.take(name, both_places, place, make, weight)


def epochs(place: Place, make: Callable[..., list[Encoder]], inputs: Callable[..., Any], how: dict[str, Any]) -> Any:
    """Time epochs of MIDAS beside those of the joint and unimodal losses, all batches on the device."""
    count, batch = (2, 4) if place.dry else (8, 64)
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (count, batch)).to(place.device)
    batches = [(*(x.to(place.device) for x in inputs(batch, small=place.dry)), each) for each in labels]
    kinds = ("MIDAS", "joint + unimodal")
    runs = {kind: epoch(batches, make(small=place.dry), place.device, kind, **how) for kind in kinds}
    times = interleave(runs, QUICK if place.dry else EFFORT)
    row = Result.of_ratio(times, *kinds, f"{count} batches of {batch}", TARGET)
    return {"ratio": row.value, "low": row.low, "high": row.high, "target": TARGET, "met": row.met, **row.seconds}


def scaled(place: Place, task: Task, weight: float) -> dict[str, float]:
    """Train under autocast to float16 with a GradScaler: as accurate as in float32, within two points."""
    found = {"float32": train(task, weight, 0, place), "float16": train(task, weight, 0, place, half=True)}
    require(place.dry or found["float16"] > found["float32"] - 0.02, found)
    return found


def both_places(place: Place, make: Callable[[int], Task], weight: float) -> dict[str, Any]:
    """Train with several seeds on the GPU and on the CPU: the mean accuracies differ by less than their spread."""
    seeds = range(2 if place.dry else SEEDS)
    here = [train(make(seed), weight, seed, place) for seed in seeds]
    there = [train(make(seed), weight, seed, Place(dry=True), dry=place.dry) for seed in seeds]
    off, spread = fmean(here) - fmean(there), max(stdev(here), stdev(there), 0.005)
    require(place.dry or abs(off) <= 2 * spread, (here, there))
    return {"GPU": here, "CPU": there, "difference": off, "spread": spread}


def train(task: Task, weight: float, seed: int, place: Place, *, half: bool = False, dry: bool | None = None) -> float:
    """Train dense encoders by MIDAS; return the accuracy on the test data."""
    device = place.device
    dry = place.dry if dry is None else dry
    torch.manual_seed(seed)
    views, labels = _tensors(task.training, device)
    encoders = [
        nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()).to(device) for x in views
    ]
    head = nn.Linear(64 * len(views), task.num_classes).to(device)
    criterion = MidasLoss(num_classes=task.num_classes, feature_dims=[64] * len(views), weight=weight, seed=seed)
    criterion = criterion.to(device)
    optimizer = torch.optim.Adam(nn.ModuleList([*encoders, head, criterion]).parameters(), lr=RATE)
    scaler = torch.amp.GradScaler(device, enabled=half)
    # On a CPU half precision is bfloat16.
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    order = torch.Generator().manual_seed(seed)
    for _ in range(1 if dry else EPOCHS):
        for batch in torch.randperm(len(labels), generator=order).to(device).split(BATCH):
            with torch.autocast(device, dtype) if half else nullcontext():
                features = [encode(x[batch]) for encode, x in zip(encoders, views, strict=True)]
                loss = criterion(features, labels[batch], head=head)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    require(bool(torch.isfinite(criterion.alpha).all()), criterion.alpha)
    views, labels = _tensors(task.test, device)
    with torch.no_grad():
        features = [encode(x) for encode, x in zip(encoders, views, strict=True)]
        predicted = head(torch.cat(features, dim=1)).argmax(dim=1)
    return float((predicted == labels).double().mean())


def _tensors(split: Split, device: str) -> tuple[list[Tensor], Tensor]:
    return [torch.from_numpy(x).to(device) for x in split.inputs], torch.from_numpy(split.labels).to(device)


def _compiler(place: Place) -> Callable[[Any], Any]:
    return lambda function: torch.compile(function, backend="eager" if place.dry else "inductor", dynamic=False)


def _pictures_twice(batch: int, *, small: bool) -> list[Tensor]:
    pixels = 32 if small else 224
    return [torch.randn(batch, channels, pixels, pixels) for channels in (1, 3)]


def _picture_and_text(batch: int, *, small: bool) -> list[Tensor]:
    pixels, tokens = (32, 8) if small else (224, 128)
    return [torch.randn(batch, 3, pixels, pixels), torch.randint(1000, (batch, tokens))]
