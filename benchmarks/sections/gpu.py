"""What only a GPU can tell: no synchronisation in a step, CuPy beside PyTorch, the share of the memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import midas_core as mc
from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.sections.core import core_step, inputs, torch_step
from benchmarks.settings import Settings
from benchmarks.steps import midas_loss, training_step
from benchmarks.timing import interleave
from midas_core.backends import load_backend

COPY_BYTES = 2**30


def measure(settings: Settings) -> list[Result]:
    """Run the step where synchronising is an error, and time it beside a plain copy of memory."""
    found = []
    for size in settings.sizes:
        settings.report(f"GPU {size}")
        problem = Problem(size, "cuda")
        step = training_step(problem, midas_loss(problem))
        step()
        found.append(Result("synchronising calls in a step", str(size), synchronises(step), target=0.0, unit="found"))

        source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        times = interleave({"MIDAS": step, "copy": partial(target.copy_, source)}, settings.effort)
        bandwidth = 2 * COPY_BYTES / times.median("copy")
        share = least_bytes(problem) / times.median("MIDAS") / bandwidth
        found.append(Result("share of the bandwidth of a copy", str(size), share, unit="of 1"))
    return found


def measure_cupy(settings: Settings) -> list[Result]:
    """Time objective and gradients on given logits: CuPy in closed form, PyTorch by autograd."""
    found = []
    for size in settings.sizes:
        settings.report(f"CuPy {size}")
        steps = {"CuPy": closed_form_step("cupy", size), "PyTorch": torch_step(core_step("torch"), size, "cuda")}
        times = interleave(steps, settings.effort)
        found.append(Result.of_ratio(times, "CuPy", "PyTorch", str(size), how="core"))
    return found


def synchronises(step: Callable[[], None]) -> float:
    """Return 1 if a step makes the host wait for the device, else 0."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return 1.0
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0.0


def least_bytes(problem: Problem) -> int:
    """Return what a step must move at least.

    Every array of logits (aligned, V mixed, M unimodal) and its gradient written and read once; every feature and
    weight read in the forward and in the backward pass and its gradient written.
    """
    batch, classes, _, modalities = problem.size
    logits = (1 + mc.misalignment.VIEWS + modalities) * batch * classes
    leaves = sum(leaf.numel() for leaf in problem.leaves)
    return (4 * logits + 3 * leaves) * problem.features[0].element_size()


def closed_form_step(name: str, size: Size) -> Callable[[], Any]:
    """Return objective and closed-form gradients on random logits, on a backend."""
    backend = load_backend(name)
    xp = backend.xp
    x = {k: [xp.asarray(a) for a in v] if isinstance(v, list) else xp.asarray(v) for k, v in inputs(size).items()}
    logits = (x["fused"], x["unimodal"], x["mixed"], x["labels"])
    state = mc.MidasState(x["alpha"], x["step"])

    def step() -> Any:
        sources = mc.source_matrix(x["permutation"], size.modalities, backend=backend)
        similarities = mc.similarity(x["features"], sources, backend=backend)
        objective = mc.midas_objective(*logits, sources, similarities, state, backend=backend)
        return mc.midas_gradients(*logits, sources, objective.soft_weights, backend=backend)

    return step
