"""Keras, and the core's backend of the framework that Keras runs on."""

from __future__ import annotations

from copy import copy
from typing import Any

from midas_core.backends import Array, Backend, load_backend, require

# Keras backend -> backend of the core.
FRAMEWORKS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch", "numpy": "numpy"}


def import_keras() -> Any:
    """Import Keras 3 or say what to install.

    Raises
    ------
    ImportError
        If Keras or the framework of its backend is missing, or Keras is older than 3.
    """
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
