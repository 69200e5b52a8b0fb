"""Take a functional multimodal model apart into features and head."""

from __future__ import annotations

from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import keras
from midas_core.modalities import Modalities


class Parts(NamedTuple):
    """A backbone from inputs to features, a head from features to logits, and what was split off: softmax, sigmoid."""

    backbone: Any
    head: Any
    activation: str | bool


def split_functional(model: Any, features: Any, head: str | None) -> Parts:
    """Cut a functional model at its features, and at the logits of its head.

    Raises
    ------
    TypeError, ValueError
        If the model is not functional, a layer is not there, or the head depends on more than the features.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(f"model: expected a functional Keras model, got {type(model).__name__}")
    modalities = Modalities(features, "features")
    names = modalities.unpack(features, "features")
    tensors = _tensors(model)
    found = [_tensor_of(name, f"features of {modalities.title(m)}", tensors) for m, name in enumerate(names)]
    end = _final_tensor(model) if head is None else _tensor_of(head, "head", tensors)
    logits, activation = _without_activation(end)
    try:
        tail = keras.Model(found, logits, name="head")
    except ValueError as error:
        raise ValueError(
            f"features: expected layers through which everything reaches the head, got {names}; the head also depends "
            "on another part of the model"
        ) from error
    packed: Any = found
    if modalities.names is not None:
        packed = dict(zip(modalities.names, found, strict=True))
        tail = _by_name(tail, packed)
    backbone = keras.Model(model.input, packed, name=f"{model.name}_features")
    return Parts(backbone, tail, activation)


def _by_name(head: Any, tensors: dict[str, Any]) -> Any:
    """Let a head that takes a list take a dict; Keras wants inputs that are called like its keys."""
    inputs = {name: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=name) for name, x in tensors.items()}
    return keras.Model(inputs, head(list(inputs.values())), name="named_head")


def _tensors(model: Any) -> dict[str, Any]:
    """Return the output of each layer in this model's own graph; a shared layer has others elsewhere."""
    found: dict[str, Any] = {}
    waiting = keras.tree.flatten(model.outputs)
    seen = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, node, _ = tensor._keras_history
        found.setdefault(operation.name, tensor)
        waiting.extend(operation._inbound_nodes[node].input_tensors)
    return found


def _tensor_of(name: Any, argument: str, tensors: dict[str, Any]) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"{argument}: expected the name of a layer, got {type(name).__name__}")
    if name not in tensors:
        raise ValueError(f"{argument}: expected the name of one of the layers {sorted(tensors)}, got {name!r}")
    return tensors[name]


def _final_tensor(model: Any) -> Any:
    outputs = keras.tree.flatten(model.outputs)
    if len(outputs) != 1:
        raise ValueError(f"head: expected the name of a layer, because the model has {len(outputs)} outputs, got None")
    return outputs[0]


def _without_activation(tensor: Any) -> tuple[Any, str | bool]:
    """Return the logits under a softmax or sigmoid, and which of them there was, or False."""
    operation, node, _ = tensor._keras_history
    names = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    if isinstance(operation, keras.layers.Softmax):
        return operation._inbound_nodes[node].input_tensors[0], "softmax"
    found = names.get(getattr(operation, "activation", None), False)
    if found and isinstance(operation, keras.layers.Activation):
        return operation._inbound_nodes[node].input_tensors[0], found
    if found and isinstance(operation, keras.layers.Dense):
        config = {**operation.get_config(), "activation": None, "name": f"{operation.name}_logits"}
        linear = type(operation).from_config(config)
        logits = linear(operation._inbound_nodes[node].input_tensors[0])
        linear.set_weights(operation.get_weights())
        return logits, found
    return tensor, False
