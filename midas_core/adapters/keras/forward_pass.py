"""What the forward pass of a step leaves for its loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from midas_core.adapters.keras.heads import FusedHead, HeadRun
from midas_core.backends import Array


class Pass(NamedTuple):
    """What a model computed on the way to its predictions; unimodal logits where a loss follows or they have a vote."""

    model: Any
    features: list[Array]
    present: Array | None
    head: FusedHead
    head_run: HeadRun
    unimodal_logits: list[Array] | None
    predictions: Array


# Keras hands `compute_loss` the predictions alone. Within a step the features wait here, so that the encoders run once;
# a context variable, because replicas run in threads.
_passes: ContextVar[list[Pass] | None] = ContextVar("_passes", default=None)


@contextmanager
def in_step() -> Iterator[None]:
    """Keep the passes of a step until it ends."""
    token = _passes.set([])
    try:
        yield
    finally:
        _passes.reset(token)


def is_in_step() -> bool:
    """Return whether a loss will follow the forward pass."""
    return _passes.get() is not None


def keep_pass(found: Pass) -> None:
    """Keep a pass for the loss of the step, if there is one."""
    passes = _passes.get()
    if passes is not None:
        passes.append(found)


def kept_pass(model: Any, predictions: Any) -> Pass | None:
    """Return the pass that led to these predictions, if this step has seen it."""
    for found in _passes.get() or ():
        if found.model is model and found.predictions is predictions:
            return found
    return None
