"""The step: MIDAS against the joint and unimodal losses, and against the textbook, eagerly and compiled."""

from __future__ import annotations

import torch

from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.settings import CPU_SIZES, CUDA_SIZES, Settings
from benchmarks.steps import Loss, joint_unimodal_loss, midas_loss, textbook_loss, training_step
from benchmarks.timing import clock_of, interleave

# Of MIDAS / (joint + unimodal), the same compiled, and MIDAS / textbook.
CPU_TARGETS = ((2.6, 1.3, 1.0), (1.7, 1.2, 1.0), (1.2, 1.1, 1.0), (1.2, 1.1, 1.0))
CUDA_TARGETS = ((1.5, 1.15, None), *((1.1, 1.1, None),) * (len(CUDA_SIZES) - 1))
TARGETS: dict[tuple[str, Size], tuple[float | None, ...]] = {
    (device, size): each
    for device, sizes, targets in (("cpu", CPU_SIZES, CPU_TARGETS), ("cuda", CUDA_SIZES, CUDA_TARGETS))
    for size, each in zip(sizes, targets, strict=True)
}
NONE = (None, None, None)


def measure(settings: Settings) -> list[Result]:
    """Time eager steps at each size."""
    beside, textbook = [], []
    for size in settings.sizes:
        settings.report(f"eager step {size}")
        p = Problem(size, settings.device)
        steps = {
            "MIDAS": training_step(p, midas_loss(p)),
            "joint + unimodal": training_step(p, joint_unimodal_loss(p)),
            "textbook": training_step(p, textbook_loss(p)),
        }
        times = interleave(steps, settings.effort, clock_of(settings.device))
        target = TARGETS.get((settings.device, size), NONE)
        beside.append(Result.of_ratio(times, "MIDAS", "joint + unimodal", str(size), target[0], "eager"))
        textbook.append(Result.of_ratio(times, "MIDAS", "textbook", str(size), target[2], "eager"))
    return beside + textbook


def measure_compiled(settings: Settings) -> list[Result]:
    """Time steps under ``torch.compile`` at each size."""
    found = []
    for size in settings.sizes:
        settings.report(f"torch.compile {size}")
        p = Problem(size, settings.device)
        steps = {
            "MIDAS": training_step(p, _compiled(midas_loss(p), settings)),
            "joint + unimodal": training_step(p, _compiled(joint_unimodal_loss(p), settings)),
        }
        times = interleave(steps, settings.effort, clock_of(settings.device))
        target = TARGETS.get((settings.device, size), NONE)[1]
        found.append(Result.of_ratio(times, "MIDAS", "joint + unimodal", str(size), target, "torch.compile"))
    return found


def _compiled(loss: Loss, settings: Settings) -> Loss:
    # The full backend writes and builds C++, which takes a minute.
    backend = "aot_eager" if settings.quick else "inductor"
    compiled: Loss = torch.compile(loss, fullgraph=True, dynamic=False, backend=backend)
    return compiled
