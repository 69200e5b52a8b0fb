"""The most memory that a step holds at a time, above that of the joint and unimodal losses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.steps import joint_unimodal_loss, midas_loss, textbook_loss, training_step
from benchmarks.usages import USAGES

SIZE = Size(4096, 1000, 512)
QUICK_SIZE = Size(64, 100, 16)
TARGET, MULTI_LABEL_TARGET = 5.0, 2.0
"""Arrays of (B, C) above the joint and unimodal losses; times their memory, with several labels for a sample."""


def measure(settings: Settings) -> list[Result]:
    """Measure the peak of each step, in arrays of (B, C)."""
    size = QUICK_SIZE if settings.quick else SIZE
    settings.report(f"memory {size}")
    problem = Problem(size, settings.device)
    array = size.batch * size.classes * problem.features[0].element_size()

    def arrays(step: Callable[[], None]) -> float:
        problem.zero_grad()
        # What is made once does not count.
        step()
        problem.zero_grad()
        peak = peak_cuda_bytes(step) if settings.device == "cuda" else peak_cpu_bytes(step)
        problem.zero_grad()
        return peak / array

    base = arrays(training_step(problem, joint_unimodal_loss(problem)))
    rows = [
        Result(f"{name} - (joint + unimodal)", str(size), arrays(step) - base, target=target, unit="(B, C) arrays")
        for name, step, target in (
            ("MIDAS", training_step(problem, midas_loss(problem)), TARGET),
            ("textbook", training_step(problem, textbook_loss(problem)), None),
        )
    ]
    problem = Problem(size, settings.device, usage=USAGES["multi-label"])
    peaks = [arrays(training_step(problem, loss(problem))) for loss in (midas_loss, joint_unimodal_loss)]
    name = "MIDAS / (joint + unimodal), multi-label"
    return [*rows, Result(name, str(size), peaks[0] / peaks[1], target=MULTI_LABEL_TARGET, unit="times the memory")]


def peak_cpu_bytes(function: Callable[[], object]) -> int:
    """Return how much more memory PyTorch held on the CPU, at most, than at the start of the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes: list[tuple[int, int]] = [
        (e["args"]["Ev Idx"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"
    ]
    return max(accumulate((change for _, change in sorted(changes)), initial=0))


def peak_cuda_bytes(function: Callable[[], object]) -> int:
    """Return how much more memory PyTorch held on the GPU, at most, than at the start of the call."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
