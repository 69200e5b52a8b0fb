"""The core through the Array API against the same algorithm in the framework's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import midas_core as mc
from benchmarks.problem import Size
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.timing import interleave, keep_freed_memory
from midas_core.backends import load_backend

TORCH_TARGET, JAX_TARGET = 1.05, 1.02


def measure(settings: Settings) -> list[Result]:
    """Time the core and the hand-written step, in PyTorch eagerly."""
    from benchmarks.native_torch import native_step

    keep_freed_memory()
    found = []
    for size in settings.sizes:
        settings.report(f"core, PyTorch {size}")
        steps = {
            "core": torch_step(core_step("torch"), size, settings.device),
            "native": torch_step(native_step, size, settings.device),
        }
        times = interleave(steps, settings.effort)
        found.append(Result.of_ratio(times, "core", "native", str(size), TORCH_TARGET, "PyTorch, eager"))
    return found


def measure_jax(settings: Settings) -> list[Result]:
    """Time the core and the hand-written step, in JAX under ``jit``."""
    from benchmarks.native_jax import native_step

    keep_freed_memory()
    found = []
    for size in settings.sizes:
        settings.report(f"core, JAX {size}")
        steps = {"core": jax_step(core_step("jax"), size), "native": jax_step(native_step, size)}
        times = interleave(steps, settings.effort)
        found.append(Result.of_ratio(times, "core", "native", str(size), JAX_TARGET, "JAX, jit"))
    return found


def core_step(name: str) -> Callable[..., mc.Objective]:
    """Return the core in the form of `native_step`."""
    backend = load_backend(name)

    def step(
        features: Any, fused: Any, unimodal: Any, mixed: Any, labels: Any, permutation: Any, alpha: Any, count: Any
    ) -> mc.Objective:
        sources = mc.source_matrix(permutation, len(unimodal), backend=backend)
        similarities = mc.similarity(features, sources, backend=backend)
        state = mc.MidasState(alpha, count)
        return mc.midas_objective(fused, unimodal, mixed, labels, sources, similarities, state, backend=backend)

    return step


def inputs(size: Size, seed: int = 0) -> dict[str, Any]:
    """Return random arguments of a step, in NumPy."""
    batch, classes, width, modalities = size
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=batch)

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return rng.normal(size=shape).astype(np.float32)

    return {
        "features": [normal(batch, width) for _ in range(modalities)],
        "fused": normal(batch, classes),
        "unimodal": [normal(batch, classes) for _ in range(modalities)],
        "mixed": normal(2, batch, classes),
        "labels": labels,
        "permutation": rng.permutation(batch),
        "alpha": np.array([1.0] * (modalities - 1) + [1.5], np.float32),
        "step": np.array(3),
    }


def torch_step(function: Callable[..., Any], size: Size, device: str = "cpu") -> Callable[[], Any]:
    """Return forward and backward of ``function`` on random logits; it returns the gradients."""
    x = {name: map_arrays(lambda a: torch.from_numpy(a).to(device), value) for name, value in inputs(size).items()}
    leaves = [x["fused"], *x["unimodal"], x["mixed"]]
    for leaf in leaves:
        leaf.requires_grad_()
    arguments = list(x.values())

    def step() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(function(*arguments).terms.total.mean(), leaves)

    return step


def jax_step(function: Callable[..., Any], size: Size) -> Callable[[], Any]:
    """Return forward and backward of ``function`` under ``jit`` on random logits; it returns the gradients."""
    import jax

    def array(a: np.ndarray[Any, Any]) -> Any:
        return jax.numpy.asarray(a.astype(np.int32) if a.dtype == np.int64 else a)

    x = {name: map_arrays(array, value) for name, value in inputs(size).items()}
    features, fused, unimodal, mixed, *rest = x.values()

    def mean(logits: Any, features: Any, *rest: Any) -> tuple[Any, Any]:
        found = function(features, *logits, *rest)
        return found.terms.total.mean(), found.state

    gradient = jax.jit(jax.grad(mean, has_aux=True))
    logits = (fused, unimodal, mixed)
    return lambda: jax.block_until_ready(gradient(logits, features, *rest))[0]


def map_arrays(function: Callable[[Any], Any], x: Any) -> Any:
    """Return ``function`` of an array, or of each in a list."""
    return [function(a) for a in x] if isinstance(x, list) else function(x)
