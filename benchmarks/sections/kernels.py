"""What the step by hand buys: fused against the general way, with Numba and without."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.child import times_in_child
from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.steps import joint_unimodal_loss, midas_loss, training_step
from benchmarks.timing import SHORT, Effort, Times, interleave
from benchmarks.usages import USAGES

HOW = {"with Numba": (), "without Numba": ("numba",)}


def measure(settings: Settings) -> list[Result]:
    """Time both ways beside the joint and unimodal losses, in a process that finds Numba and in one that does not."""
    found = []
    for how, hidden in HOW.items():
        if not hidden and find_spec("numba") is None:
            settings.warn("kernels, with Numba: Numba is not installed: pip install 'midas-multimodal[fast]'")
            continue
        settings.report(f"kernels, {how}")
        effort = settings.effort_of(SHORT)
        every = times_in_child("benchmarks.sections.kernels:take_times", settings.sizes, effort, hidden=hidden)
        for name, base in (
            ("fused", "general way"),
            ("fused", "joint + unimodal"),
            ("general way", "joint + unimodal"),
        ):
            for size, times in zip(settings.sizes, every, strict=True):
                found.append(Result.of_ratio(times, name, base, str(size), how=how))
    return found


def take_times(size: Size, effort: Effort) -> Times:
    """Time the steps in this process."""
    fused, general = Problem(size), Problem(size, usage=USAGES["per sample"])
    steps = {
        "fused": training_step(fused, midas_loss(fused)),
        # A loss for each sample: the general way, on the same head.
        "general way": training_step(general, midas_loss(general)),
        "joint + unimodal": training_step(fused, joint_unimodal_loss(fused)),
    }
    return interleave(steps, effort)
