"""The step with what users ask of it, each beside the joint and unimodal losses with the same options."""

from __future__ import annotations

from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.settings import QUICK_SIZES, Settings
from benchmarks.steps import joint_unimodal_loss, midas_loss, training_step
from benchmarks.timing import SHORT, interleave
from benchmarks.usages import USAGES

SIZES = {Size(64, 6, 512): 1.6, Size(256, 1000, 512): 1.2}
"""And the targets. The MLP head, which runs on the same rows in both, has those of the step."""
NARROW = 64
SHOWN = ("MLP head", "present", "class weights", "label smoothing", "sample weights", "six modalities")


def measure(settings: Settings) -> list[Result]:
    """Time what a table shows at two sizes, and the plain one with narrow features."""
    sizes = dict.fromkeys(QUICK_SIZES) if settings.quick else SIZES
    found = []
    for name in (*SHOWN, "plain"):
        for size, target in sizes.items():
            size = size._replace(width=NARROW) if name == "plain" else size
            target = target if settings.device == "cpu" else None
            found.append(_row(name, size, target, settings))
    return found


def _row(name: str, size: Size, target: float | None, settings: Settings) -> Result:
    usage = USAGES[name]
    size = size._replace(modalities=usage.modalities)
    settings.report(f"{name} {size}")
    problem = Problem(size, settings.device, usage=usage)
    steps = {
        "MIDAS": training_step(problem, midas_loss(problem)),
        "joint + unimodal": training_step(problem, joint_unimodal_loss(problem)),
    }
    times = interleave(steps, settings.effort_of(SHORT))
    how = f"D = {size.width}" if name == "plain" else name
    return Result.of_ratio(times, "MIDAS", "joint + unimodal", str(size), target, how)
