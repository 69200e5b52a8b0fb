"""Calls models of any framework as an evaluation does: no gradients, evaluation mode, log-probabilities on the host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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


def predictions(log_probabilities: Floats) -> Ints:
    """Return the classes with the highest probability, -1 where a row is not finite: no class is predicted there."""
    found = log_probabilities.argmax(axis=1)
    return np.where(np.isnan(log_probabilities).any(axis=1), -1, found)


def log_softmax(logits: Array) -> Floats:
    """Return the log-probabilities on the host, in float64."""
    values = get_backend(logits).to_numpy(logits).astype(np.float64)
    with np.errstate(invalid="ignore"):  # a row of infinities is NaN
        top = values.max(axis=-1, keepdims=True)
        shifted = values - top
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
