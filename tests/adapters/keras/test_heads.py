"""A head gives logits: one that ends in softmax or sigmoid is refused, wherever it is given."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel
from midas_core.adapters.keras.heads import final_activation

layers = keras.layers


def functional(end):
    inputs = keras.Input((4,))
    return keras.Model(inputs, end(layers.Dense(3)(inputs)))


ENDINGS = {
    "dense": lambda: layers.Dense(3, activation="softmax"),
    "sigmoid": lambda: layers.Dense(3, activation="sigmoid"),
    "layer": lambda: keras.Sequential([layers.Dense(3), layers.Softmax()]),
    "activation": lambda: keras.Sequential([layers.Dense(3), layers.Activation("softmax")]),
    "functional": lambda: functional(layers.Softmax()),
    "operation": lambda: functional(keras.ops.softmax),
    "nested": lambda: functional(keras.Sequential([layers.Dense(3, activation="softmax")])),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_probabilities_are_no_logits(name):
    head, kind = ENDINGS[name](), "sigmoid" if name == "sigmoid" else "softmax"
    assert final_activation(head) == kind
    message = f"expected logits, got a layer that ends in '{kind}'.*probabilities='{kind}'"
    encoders = [layers.Dense(2), layers.Dense(2)]
    with pytest.raises(ValueError, match=f"^head: {message}"):
        MidasModel(encoders, 3, head=head)
    with pytest.raises(ValueError, match=f"^unimodal head of modality 1: {message}"):
        MidasModel(encoders, 3, unimodal_heads=[layers.Dense(3), head])
    with pytest.raises(ValueError, match=f"^unimodal head of modality 0: {message}"):
        MidasLoss(num_classes=3, unimodal_heads=[head, layers.Dense(3)])
    criterion = MidasLoss(num_classes=3, feature_dims=[2, 2])
    with pytest.raises(ValueError, match=f"head: {message}"):
        criterion([np.ones((2, 2), "float32")] * 2, np.arange(2), head=head)


@pytest.mark.parametrize("activation", [None, "relu", "log_softmax"])
def test_other_endings_are_left_alone(activation):
    assert final_activation(keras.Sequential([layers.Dense(3, activation=activation)])) is None
    assert final_activation(keras.Sequential()) is None
    assert final_activation(len) is None
