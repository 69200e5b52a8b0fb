"""The different-class permutation of a large batch against a plain sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.timing import interleave
from midas_core.backends import load_backend
from midas_core.misalignment import different_class_permutation, draw

LABELS, QUICK_LABELS, CLASSES = 1_000_000, 1_000, 1_000
TARGET = 3.0


def measure(settings: Settings) -> list[Result]:
    """Time the permutation on each backend that is installed, beside ``numpy.argsort`` of as many floats."""
    count = QUICK_LABELS if settings.quick else LABELS
    settings.report("permutation")
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=count)
    numbers = draw(labels, CLASSES, 2, rng)
    arguments = (labels, numbers.samples, numbers.classes, np.asarray(numbers.rotation))
    floats = rng.random(count)
    contestants: dict[str, Callable[[], object]] = {"numpy.argsort": lambda: np.argsort(floats)}
    for name, prepare in (_CUDA if settings.device == "cuda" else _CPU).items():
        try:
            contestants[name] = prepare(arguments)
        except ImportError as error:
            settings.warn(f"permutation: {error}")
    times = interleave(contestants, settings.effort)
    size = f"{count:,} labels, {CLASSES:,} classes"
    return [
        Result.of_ratio(times, name, "numpy.argsort", size, TARGET) for name in contestants if name != "numpy.argsort"
    ]


Arrays = tuple[Any, ...]


def _numpy(arrays: Arrays) -> Callable[[], object]:
    return lambda: different_class_permutation(*arrays)


def _torch(arrays: Arrays, device: str = "cpu") -> Callable[[], object]:
    tensors = [torch.from_numpy(a).to(device) for a in arrays]
    backend = load_backend("torch")
    return lambda: different_class_permutation(*tensors, backend=backend)


def _torch_cuda(arrays: Arrays) -> Callable[[], object]:
    return _torch(arrays, "cuda")


def _jax(arrays: Arrays) -> Callable[[], object]:
    backend = load_backend("jax")
    import jax

    function = jax.jit(lambda *a: different_class_permutation(*a, backend=backend))
    labels, *keys = arrays
    given = [jax.numpy.asarray(a) for a in (labels.astype(np.int32), *keys)]
    return lambda: jax.block_until_ready(function(*given))


def _tensorflow(arrays: Arrays) -> Callable[[], object]:
    backend = load_backend("tensorflow")
    import tensorflow as tf

    function = tf.function(lambda *a: different_class_permutation(*a, backend=backend))
    given = [tf.constant(a) for a in arrays]
    return lambda: function(*given).numpy()


def _cupy(arrays: Arrays) -> Callable[[], object]:
    backend = load_backend("cupy")
    import cupy

    given = [cupy.asarray(a) for a in arrays]
    return lambda: different_class_permutation(*given, backend=backend)


_CPU = {"NumPy": _numpy, "PyTorch": _torch, "JAX, jit": _jax, "TensorFlow, tf.function": _tensorflow}
_CUDA = {"PyTorch": _torch_cuda, "CuPy": _cupy}
