"""The forward pass of a model, and what it leaves for the loss of its step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.heads import FusedHead, HeadRun
from midas_core.adapters.keras.inputs import presence, split_present, zero_missing_inputs
from midas_core.adapters.keras.masks import split_masks
from midas_core.backends import Array
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities


class Pass(NamedTuple):
    """Results of one forward pass; unimodal logits where a loss follows or they have a vote."""

    model: Any
    features: list[Any]
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


def keep_pass(result: Pass) -> None:
    """Keep a pass for the loss of the step, if there is one."""
    passes = _passes.get()
    if passes is not None:
        passes.append(result)


def kept_pass(model: Any, predictions: Any) -> Pass | None:
    """Return the pass that led to these predictions, if this step has seen it."""
    for result in _passes.get() or ():
        if result.model is model and result.predictions is predictions:
            return result
    return None


def run_encoders(
    encoders: Sequence[Any], has_backbone: bool, inputs: Any, modalities: Modalities, training: bool
) -> tuple[list[Any], Array | None]:
    """Return the features of inputs that may hold keys that no encoder takes, and what is ``"present"`` among them."""
    inputs, present = split_present(inputs, modalities)
    if present is not None:
        batch = getattr(keras.tree.flatten(inputs)[0], "shape", (None,))[0]
        present = presence(present, batch, modalities)
    if has_backbone:
        values = modalities.unpack(encoders[0](inputs, training=training), "output of encoders")
    else:
        names = modalities.names
        if isinstance(inputs, Mapping) and names is not None and set(names) <= set(inputs):
            inputs = {name: inputs[name] for name in names}
        items = modalities.unpack(inputs, "inputs")
        if present is not None:
            items = zero_missing_inputs(items, present)
        values = [encoder(x, training=training) for encoder, x in zip(encoders, items, strict=True)]
    features = split_masks(values)
    return features if present is None else zero_missing(features, present, backend=BACKEND), present
