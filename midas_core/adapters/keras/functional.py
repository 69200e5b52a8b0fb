"""Take a functional multimodal model apart into features and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.heads import final_activation
from midas_core.modalities import Modalities

Layer = keras.layers.Layer


class Parts(NamedTuple):
    """A backbone from inputs to features, a head from features to logits, and the activation that was split off."""

    backbone: Any
    head: Any
    activation: str | bool


@keras.saving.register_keras_serializable(package="midas_core")
class WithoutActivation(Layer):  # type: ignore[misc, valid-type]
    """A layer with its activation left out; the layer keeps its weights."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer
        self.built = True

    def call(self, x: Any) -> Any:
        """Run the layer as if it were linear."""
        layer = self.layer
        activation, layer.activation = layer.activation, keras.activations.linear
        try:
            return layer(x)
        finally:
            layer.activation = activation

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WithoutActivation:
        """Make the layer that `get_config` described."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def split_functional(model: Any, features: Any, head: str | None) -> Parts:
    """Cut a functional model at its features, and at the logits of its head."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(f"model: expected a functional Keras model, got {type(model).__name__}")
    modalities = Modalities(features, "features")
    items = modalities.unpack(features, "features")
    tensors = _tensors(model)
    cuts = [_tensor_of(x, f"features of {modalities.title(m)}", tensors, model) for m, x in enumerate(items)]
    _check_apart(cuts, modalities)
    end = _final_tensor(model) if head is None else _tensor_of(head, "head", tensors, model)
    if len(end.shape) == 2 and end.shape[1] == 1:
        raise ValueError(
            "head: expected one logit for each of two or more classes, got one output; for two classes end in "
            "Dense(2, activation='softmax') and take class indices for labels"
        )
    logits, activation = _without_activation(end)
    try:
        tail = keras.Model(cuts, logits, name="head")
    except ValueError as error:
        raise ValueError(
            "features: expected layers through which everything reaches the head, got "
            f"{[x._keras_history[0].name for x in cuts]}; the head also depends on another part of the model: an "
            "input that skips the features, or the mask of a sequence, used behind them (take for the feature the "
            "layer that pools the sequence)"
        ) from error
    packed: Any = cuts
    if modalities.names is not None:
        packed = dict(zip(modalities.names, cuts, strict=True))
        tail = _by_name(tail, packed)
    backbone = keras.Model(model.input, packed, name=f"{model.name}_features")
    return Parts(backbone, tail, activation)


def _by_name(head: Any, tensors: dict[str, Any]) -> Any:
    """Return a head that takes a dict from one that takes a list; Keras wants inputs called like the keys."""
    inputs = {name: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=name) for name, x in tensors.items()}
    return keras.Model(inputs, head(list(inputs.values())), name="named_head")


def _before(tensor: Any) -> dict[int, Any]:
    """Return a tensor and all that it was computed from, by id."""
    before: dict[int, Any] = {}
    waiting = [tensor]
    while waiting:
        x = waiting.pop()
        if id(x) not in before:
            before[id(x)] = x
            operation, node, _ = x._keras_history
            waiting.extend(operation._inbound_nodes[node].input_tensors)
    return before


def _tensors(model: Any) -> dict[str, list[Any]]:
    """Return the outputs of each layer in this model's own graph; a shared layer has others elsewhere."""
    outputs: dict[str, list[Any]] = {}
    whole: dict[int, Any] = {}
    for output in keras.tree.flatten(model.outputs):
        whole |= _before(output)
    for tensor in whole.values():
        outputs.setdefault(tensor._keras_history[0].name, []).append(tensor)
    return outputs


def _tensor_of(layer: Any, argument: str, tensors: dict[str, list[Any]], model: Any) -> Any:
    if isinstance(layer, keras.KerasTensor):
        if not any(layer is x for outputs in tensors.values() for x in outputs):
            raise ValueError(f"{argument}: expected a tensor of the model, got another one, {layer.name!r}")
        return layer
    if not isinstance(layer, str):
        raise TypeError(f"{argument}: expected the name of a layer or a tensor, got {type(layer).__name__}")
    if layer not in tensors:
        inside = [x.name for x in model.layers if any(layer == y.name for y in x._flatten_layers(include_self=False))]
        hint = f"; it is inside the layer {inside[0]!r}, which can be named" if inside else ""
        raise ValueError(f"{argument}: expected the name of one of the layers {sorted(tensors)}, got {layer!r}{hint}")
    if len(tensors[layer]) > 1:
        raise ValueError(
            f"{argument}: expected a layer with one output, got {layer!r}, which the model calls {len(tensors[layer])} "
            "times; give the tensors themselves, as in features={'audio': audio_features}"
        )
    return tensors[layer][0]


def _check_apart(features: Sequence[Any], modalities: Modalities) -> None:
    """Raise ``ValueError`` if a feature knows another modality: mixing samples would then mean nothing."""
    before = [_before(x) for x in features]
    inputs = [{i for i, x in tensors.items() if _is_input(x)} for tensors in before]
    for m, mine in enumerate(inputs):
        for k, other in enumerate(inputs):
            behind = id(features[k]) in before[m]
            if k != m and (behind or (len(mine) > 1 and mine & other)):
                raise ValueError(
                    f"features of {modalities.title(m)}: expected features of this modality alone, got "
                    f"{features[m]._keras_history[0].name!r}, which depends on {modalities.title(k)} too; take the "
                    "features before the modalities meet (for models that fuse early see docs/fusion.md)"
                )


def _is_input(tensor: Any) -> bool:
    operation, node, _ = tensor._keras_history
    return not operation._inbound_nodes[node].input_tensors


def _final_tensor(model: Any) -> Any:
    outputs = keras.tree.flatten(model.outputs)
    if len(outputs) != 1:
        raise ValueError(f"head: expected the name of a layer, because the model has {len(outputs)} outputs, got None")
    return outputs[0]


def _without_activation(tensor: Any) -> tuple[Any, str | bool]:
    """Return the logits under a softmax or sigmoid, and which of them there was, or False."""
    operation, node, _ = tensor._keras_history
    inputs = operation._inbound_nodes[node].input_tensors
    kind = final_activation(operation)
    if kind is None:
        return tensor, False
    if isinstance(operation, keras.Model):  # Nested with its softmax.
        logits, _ = _without_activation(operation.outputs[0])
        return keras.Model(operation.inputs, logits, name=f"{operation.name}_logits")(inputs), kind
    if isinstance(operation, (keras.layers.Activation, keras.layers.Softmax)):
        # Its dtype stays: under mixed precision a softmax is often in float32.
        return keras.layers.Activation("linear", dtype=operation.dtype_policy)(inputs[0]), kind
    if not isinstance(operation, Layer):
        return inputs[0], kind
    without = WithoutActivation(operation, name=f"{operation.name}_logits", dtype=operation.dtype_policy)
    return without(inputs[0]), kind
