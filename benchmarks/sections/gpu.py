"""What only a GPU can tell: waiting, kernels, bandwidth, CUDA graphs; CuPy and JAX beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import midas_core as mc
from benchmarks.gpu.place import Place
from benchmarks.problem import Problem, Size
from benchmarks.results import Result
from benchmarks.sections.core import core_step, inputs, jax_step, torch_step
from benchmarks.settings import Settings
from benchmarks.steps import joint_unimodal_loss, midas_loss, training_step
from benchmarks.timing import interleave
from midas_core.adapters.torch.random import draw_pairs
from midas_core.backends import load_backend
from midas_core.pairing import mix
from midas_core.partners import VIEWS

COPY_BYTES = 2**30
GRAPH_TARGET = 1.15


def measure(settings: Settings) -> list[Result]:
    """Ask whether a step waits for the device, count its kernels, and time it beside a plain copy of memory."""
    place, found = Place(dry=settings.device == "cpu"), []
    for size in settings.sizes:
        settings.report(f"GPU {size}")
        problem = Problem(size, settings.device)
        step, base = (training_step(problem, loss(problem)) for loss in (midas_loss, joint_unimodal_loss))
        step()
        found.append(
            Result("steps that wait for the device", str(size), float(place.waits(step)), target=0.0, unit="of 1")
        )
        counts = place.launches(step), place.launches(base)
        found += [
            Result(f"kernels of a step, {name}", str(size), float(count), unit="launches")
            for name, count in zip(("MIDAS", "joint + unimodal"), counts, strict=True)
        ]
        source = torch.empty(2**10 if place.dry else COPY_BYTES, dtype=torch.uint8, device=settings.device)
        target = torch.empty_like(source)
        times = interleave({"MIDAS": step, "copy": partial(target.copy_, source)}, settings.effort)
        bandwidth = 2 * source.numel() / times.median("copy")
        share = least_bytes(problem) / times.median("MIDAS") / bandwidth
        found.append(Result("share of the bandwidth of a copy", str(size), share, unit="of 1"))
    return found


def measure_graph(settings: Settings) -> list[Result]:
    """Time steps that a CUDA graph replays."""
    place, found = Place(dry=settings.device == "cpu"), []
    for size in settings.sizes:
        settings.report(f"CUDA graph {size}")
        own, base = Problem(size, settings.device), Problem(size, settings.device)
        steps = {
            "MIDAS": place.graph(training_step(own, midas_loss(own))),
            "joint + unimodal": place.graph(training_step(base, joint_unimodal_loss(base))),
        }
        times = interleave(steps, settings.effort)
        found.append(Result.of_ratio(times, "MIDAS", "joint + unimodal", str(size), GRAPH_TARGET, "CUDA graph"))
    return found


def measure_mixing(settings: Settings) -> list[Result]:
    """Time the gather of mixed features and their similarities, as a share of the bandwidth of a copy."""
    found = []
    backend = load_backend("torch")
    for size in settings.sizes:
        settings.report(f"mixing {size}")
        problem = Problem(size, settings.device)
        features = [x.detach() for x in problem.features]
        pairs = draw_pairs(problem.labels, size.classes, size.modalities, problem.criterion.stream, moves=True)

        def mixing(features: Any = features, sources: Any = pairs.sources) -> Any:
            return mix(features, sources, backend=backend)

        source = torch.cat(features)
        target = torch.empty_like(source)
        times = interleave({"mixing": mixing, "copy": partial(target.copy_, source)}, settings.effort)
        # Each version reads and writes every feature once; the copy does so once in all.
        share = VIEWS * times.median("copy") / times.median("mixing")
        found.append(Result("misalignment: share of the bandwidth of a copy", str(size), share, unit="of 1"))
    return found


def measure_cupy(settings: Settings) -> list[Result]:
    """Time objective and gradients on given logits: CuPy in closed form (NumPy in a dry run), PyTorch by autograd."""
    name = "numpy" if settings.device == "cpu" else "cupy"
    return _beside_torch("CuPy", lambda size: closed_form_step(name, size), settings)


def measure_jax(settings: Settings) -> list[Result]:
    """Time objective and gradients on given logits: JAX under ``jit``, PyTorch by autograd."""
    return _beside_torch("JAX, jit", lambda size: jax_step(core_step("jax"), size), settings)


def _beside_torch(name: str, make: Callable[[Size], Callable[[], Any]], settings: Settings) -> list[Result]:
    found = []
    for size in settings.sizes:
        settings.report(f"{name} {size}")
        steps = {name: make(size), "PyTorch": torch_step(core_step("torch"), size, settings.device)}
        times = interleave(steps, settings.effort)
        found.append(Result.of_ratio(times, name, "PyTorch", str(size), how="core"))
    return found


def least_bytes(problem: Problem) -> int:
    """Return what a step must move at least.

    Every array of logits (aligned, V mixed, M unimodal) and its gradient written and read once; every feature and
    weight read in the forward and in the backward pass and its gradient written.
    """
    batch, classes, _, modalities = problem.size
    logits = (1 + VIEWS + modalities) * batch * classes
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
