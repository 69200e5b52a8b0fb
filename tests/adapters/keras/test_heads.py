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


class OfOnesOwn(layers.Layer):
    def __init__(self, units, activation):
        super().__init__()
        self.last = layers.Dense(units, activation=activation)

    def call(self, x):
        return self.last(x)


@pytest.mark.parametrize(
    ("units", "activation", "warned"), [(3, "softmax", True), (3, None, False), (4, "softmax", False)]
)
def test_a_softmax_of_a_class_of_ones_own_is_said(recwarn, units, activation, warned):
    MidasModel([layers.Dense(2), layers.Dense(2)], 3, head=OfOnesOwn(units, activation))
    found = [str(x.message) for x in recwarn if "softmax" in str(x.message)]
    assert len(found) == warned
    assert not found or "head: expected logits; OfOnesOwn holds a Dense layer of 3 units with softmax" in found[0]
