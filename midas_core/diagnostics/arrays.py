"""To the host and back, for arrays of any framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_host(x: Array) -> NDArray[Any]:
    """Return an array of any framework as a NumPy array; bfloat16 as float32."""
    name = get_backend(x).name
    if name == "torch":
        x = x.detach().cpu()
        return np.asarray((x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x).numpy())
    if name == "cupy":
        return np.asarray(x.get())
    found = np.asarray(x)
    return found.astype(np.float32) if found.dtype.name in ("bfloat16", "float16") else found


def back_like(x: Array) -> Callable[[NDArray[Any]], Array]:
    """Return what turns NumPy arrays into arrays of the framework, dtype and device of ``x``."""
    backend = get_backend(x)
    dtype = x.dtype
    if backend.name == "torch":
        import torch

        device = x.device
        return lambda values: torch.as_tensor(np.ascontiguousarray(values), device=device).to(dtype)
    if backend.name == "tensorflow":
        import tensorflow as tf

        return lambda values: tf.cast(tf.convert_to_tensor(values), dtype)
    if backend.name == "numpy":
        return lambda values: values.astype(dtype, copy=False)
    return lambda values: backend.xp.asarray(np.ascontiguousarray(values), dtype=dtype)


def no_gradients(framework: str) -> AbstractContextManager[Any]:
    """Return the context in which a framework records nothing for differentiation."""
    if framework != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


@contextmanager
def evaluating(function: Any) -> Iterator[None]:
    """Put a PyTorch module into evaluation mode, and each part of it back after; anything else stays as it is."""
    training = [each for each in function.modules() if each.training] if _is_module(function) else []
    try:
        for each in training:
            each.training = False
        yield
    finally:
        for each in training:
            each.training = True


def _is_module(function: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(function, torch.nn.Module)


def log_softmax(logits: Array) -> Floats:
    """Return the log-probabilities on the host, in float64."""
    values = to_host(logits).astype(np.float64)
    with np.errstate(invalid="ignore"):  # a row of infinities is NaN
        top = values.max(axis=-1, keepdims=True)
        shifted = values - top
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
