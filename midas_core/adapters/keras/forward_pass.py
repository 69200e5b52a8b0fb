"""The forward pass of a model, and what it leaves for the loss of its step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.baselines import JointLoss, drop_modalities
from midas_core.adapters.keras.heads import check_layers, run_unimodal
from midas_core.adapters.keras.inputs import presence, split_present, zero_missing_inputs
from midas_core.adapters.keras.masks import split_masks
from midas_core.adapters.keras.step import Pass
from midas_core.backends import Array
from midas_core.ensemble import ensemble_logits
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities, map_leaves

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


def kept_pass(model: Any, predictions: Any) -> Pass | None:
    """Return the pass that led to these predictions, if this step has seen it."""
    for forward in _passes.get() or ():
        if forward.model is model and forward.predictions is predictions:
            return forward
    return None


def read_encoders(encoders: Any) -> tuple[Modalities, list[Any], bool]:
    """Return the modalities and the encoders, and whether these are one backbone with all inputs and all features."""
    if not isinstance(encoders, keras.layers.Layer):
        modalities = Modalities(encoders, "encoders")
        items = modalities.unpack(encoders, "encoders")
        check_layers("encoders", items, modalities)
        return modalities, items, False
    structure = getattr(encoders, "output", None) if isinstance(encoders, keras.Model) else None
    if not isinstance(structure, (Mapping, list, tuple)):
        raise TypeError(
            "encoders: expected a list or dict of layers, or one functional model with a list or dict of features as "
            f"output, got {type(encoders).__name__}"
        )
    return Modalities(structure, "output of encoders"), [encoders], True


def run_encoders(model: Any, inputs: Any, training: bool) -> tuple[list[Any], Array | None]:
    """Return the features of inputs that may hold keys that no encoder takes, and what is ``"present"`` among them."""
    encoders, modalities = model.encoders, model.modalities
    inputs, present = split_present(inputs, modalities)
    if present is not None:
        batch = getattr(keras.tree.flatten(inputs)[0], "shape", (None,))[0]
        present = presence(present, batch, modalities)
    if model.has_backbone:
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


def run_model(model: Any, inputs: Any, training: bool, for_loss: bool = False) -> Pass:
    """Run the encoders and heads of a `MidasModel`, and keep the pass for the loss of the step, if there is one."""
    passes = _passes.get()
    for_loss = for_loss or passes is not None
    features, present = run_encoders(model, inputs, training)
    head, fused, loss = model.fused_head(training), features, getattr(model, "loss", None)
    joint = loss if isinstance(loss, JointLoss) else None
    if training and joint is not None and joint.dropout:
        fused = drop_modalities(features, joint.dropout, model.midas_state.seed_generator)
    run = head.run(fused)
    logits, unimodal_logits = run.logits, None
    # Not in the loss itself: on JAX, Keras collects the losses of layers in the forward pass alone.
    if for_loss or model.ensemble_weight > 0:
        watched = features
        if joint is not None and not joint.unimodal_weight:  # The heads only watch the features.
            watched = [map_leaves(keras.ops.stop_gradient, x) for x in features]
        unimodal_logits = run_unimodal(model.unimodal_heads, watched, model.modalities, model.num_classes, training)
    if unimodal_logits is not None and model.ensemble_weight > 0:
        logits = ensemble_logits(
            logits,
            unimodal_logits,
            weight=model.ensemble_weight,
            present=present,
            multi_label=model.probabilities == "sigmoid",
            backend=BACKEND,
        )
    activations = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid}
    activate = activations.get(model.probabilities)
    predictions = logits if activate is None else activate(logits)
    forward = Pass(model, features, present, head, run, unimodal_logits, predictions)
    if passes is not None:
        passes.append(forward)
    return forward
