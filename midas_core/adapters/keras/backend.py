"""Keras, and the core's backend of the framework that Keras runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

import numpy as np

from midas_core.backends import Array, Backend, load_backend, require

# Keras backend -> backend of the core.
FRAMEWORKS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch", "numpy": "numpy"}


def import_keras() -> Any:
    """Import Keras 3 or say what to install."""
    try:
        keras = require("keras", "Keras", "keras")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Keras found no {error.name}, which its backend needs: install it, or name another backend in the "
            "environment variable KERAS_BACKEND (tensorflow, jax or torch)"
        ) from error
    if int(keras.__version__.partition(".")[0]) < 3:
        raise ImportError(f"Keras: expected version 3 or newer, got {keras.__version__}")
    return keras


keras = import_keras()


def _make_backend() -> Backend:
    """Return the backend of Keras's framework, with the random numbers of ``keras.random``."""
    framework = keras.backend.backend()
    if framework not in FRAMEWORKS:
        raise ImportError(f"Keras backend: expected one of {list(FRAMEWORKS)}, got {framework!r}")
    backend = copy(load_backend(FRAMEWORKS[framework]))
    backend.uniform = _uniform  # type: ignore[method-assign]
    return backend


def _uniform(shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
    # Keras's seeds are state of a layer: saved with it, and not frozen into a traced step.
    return keras.random.uniform(shape, dtype="float32", seed=rng)


BACKEND = _make_backend()
"""The core's backend; ``rng`` is a ``keras.random.SeedGenerator`` or an int."""


def replicas() -> int:
    """Return by how much Keras divides a loss: TensorFlow adds up the gradients of its replicas."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def eager() -> AbstractContextManager[Any]:
    """Return a context in which numbers are computed at once, also while a step is traced."""
    if BACKEND.name == "tensorflow":
        import tensorflow as tf

        context: AbstractContextManager[Any] = tf.init_scope()
        return context
    if BACKEND.name == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return nullcontext()


def host_values(x: Any) -> np.ndarray[Any, Any] | None:
    """Return the values of a tensor that the CPU holds; None while a step is traced, and for another device."""
    if BACKEND.name == "tensorflow":
        on_host = hasattr(x, "numpy") and "CPU" in x.device
    elif BACKEND.name == "jax":
        import jax

        traced = isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array)
        on_host = not traced and all(device.platform == "cpu" for device in x.devices())
    else:
        import torch

        on_host = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return BACKEND.to_numpy(x) if on_host else None
