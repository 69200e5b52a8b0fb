"""A head gives logits: one that ends in softmax or sigmoid is refused, wherever it is given."""

from functools import partial
from importlib import import_module

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel
from midas_core.adapters.keras.heads import final_activation
from tests.adapters.keras.loops import BACKEND

layers = keras.layers


def functional(end):
    inputs = keras.Input((4,))
    return keras.Model(inputs, end(layers.Dense(3)(inputs)))


def framework_softmax():
    if BACKEND == "torch":
        return partial(import_module("torch").nn.functional.softmax, dim=-1)
    return import_module(BACKEND).nn.softmax


ENDINGS = {
    "dense": lambda: layers.Dense(3, activation="softmax"),
    "sigmoid": lambda: layers.Dense(3, activation="sigmoid"),
    "layer": lambda: keras.Sequential([layers.Dense(3), layers.Softmax()]),
    "activation": lambda: keras.Sequential([layers.Dense(3), layers.Activation("softmax")]),
    "functional": lambda: functional(layers.Softmax()),
    "operation": lambda: functional(keras.ops.softmax),
    "framework": lambda: layers.Dense(3, activation=framework_softmax()),
    "of keras.ops": lambda: keras.Sequential([layers.Dense(3), layers.Activation(keras.ops.softmax)]),
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
    def __init__(self):
        super().__init__()
        self.last = layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.last(x)


LATE = {
    "lambda": lambda: keras.Sequential([layers.Dense(3), layers.Lambda(keras.ops.softmax)]),
    "reshape": lambda: keras.Sequential([layers.Dense(3, activation="softmax"), layers.Reshape((3,))]),
    "class": OfOnesOwn,
}


@pytest.mark.parametrize("name", LATE if BACKEND == "torch" else ["class"])
@pytest.mark.parametrize("place", ["head", pytest.param("unimodal head of modality 1", marks=pytest.mark.once)])
def test_a_softmax_that_no_layer_tells_is_seen_in_its_values(name, place):
    """In a model before the first step, compiled or not; in a loop in the first eager step."""
    message = f"{place}: expected logits, got probabilities: every row is >= 0 and sums to 1"
    encoders, dense = [layers.Dense(2), layers.Dense(2)], layers.Dense(3)
    parts = {"head": LATE[name]()} if place == "head" else {"unimodal_heads": [dense, LATE[name]()]}
    x, y = [np.eye(6, 2, dtype="float32")] * 2, np.arange(6) % 3
    for way in ("fit", "evaluate", "train_on_batch"):
        model = MidasModel(encoders, 3, **parts)
        model.compile("sgd", loss=MidasLoss())
        with pytest.raises(ValueError, match=message):
            getattr(model, way)(x, y)
    heads = parts.get("unimodal_heads") or [dense, layers.Dense(3)]
    criterion = MidasLoss(num_classes=3, unimodal_heads=heads)
    with pytest.raises(ValueError, match=message):
        criterion(x, y, head=parts.get("head") or layers.Dense(3))


def test_logits_that_look_like_nothing_are_taken():
    """Zeros, one-hot rows, a softplus: no softmax."""
    for last in (layers.Dense(3, kernel_initializer="zeros"), layers.Dense(3, activation="softplus")):
        model = MidasModel([layers.Dense(2), layers.Dense(2)], 3, head=keras.Sequential([last, layers.Reshape((3,))]))
        model.compile("sgd", loss=MidasLoss())
        model.train_on_batch([np.eye(6, 4)] * 2, np.arange(6) % 3)
