"""A functional multimodal model that was there before becomes a MidasModel."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasModel
from tests.adapters.keras.loops import CLASSES, array, compiled, make_data

NAMES = {"audio": "audio_features", "video": "video_features"}


def functional(ending: str = "softmax", skip: bool = False) -> keras.Model:
    layers = keras.layers
    audio, video = keras.Input((6,), name="audio"), keras.Input((4,), name="video")
    features = [
        layers.Dense(5, activation="relu", name="audio_features")(layers.Dense(7)(audio)),
        layers.Dense(4, activation="relu", name="video_features")(video),
    ]
    hidden = layers.Dense(8, activation="relu", name="hidden")(layers.Concatenate()(features + [audio] * skip))
    if ending == "layer":
        out = layers.Softmax()(layers.Dense(CLASSES, name="logits")(hidden))
    elif ending == "activation":
        out = layers.Activation("softmax")(layers.Dense(CLASSES, name="logits")(hidden))
    else:
        out = layers.Dense(CLASSES, activation=None if ending == "logits" else ending, name="logits")(hidden)
    return keras.Model({"audio": audio, "video": video}, out, name="classifier")


@pytest.mark.parametrize("ending", ["softmax", "layer", "activation", "logits", "sigmoid"])
def test_predictions_stay(ending):
    x, _ = make_data(6)
    model = functional(ending)
    wrapped = MidasModel.from_functional(model, features=NAMES)
    np.testing.assert_allclose(array(wrapped(x)), array(model(x)), rtol=1e-4, atol=1e-6)
    assert wrapped.probabilities == {"logits": False, "sigmoid": "sigmoid"}.get(ending, "softmax")
    assert wrapped.modalities.names == ("audio", "video")


def test_it_trains_the_layers_of_the_model_and_is_saved(tmp_path):
    x, y = make_data(16)
    model = functional()
    wrapped = compiled(MidasModel.from_functional(model, features=NAMES))
    before = array(model.get_layer("audio_features").kernel)
    history = wrapped.fit(x, y, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert "confidence_audio" in history
    assert (array(model.get_layer("audio_features").kernel) != before).any()
    wrapped.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again(x)), array(wrapped(x)), rtol=1e-5)
    assert again.alpha.shape == (2,)


def test_a_list_of_layers_and_a_named_head():
    x, _ = make_data(6)
    model = functional("layer")
    wrapped = MidasModel.from_functional(model, features=list(NAMES.values()), head="logits")
    assert not wrapped.probabilities
    np.testing.assert_allclose(array(keras.ops.softmax(wrapped(x))), array(model(x)), rtol=1e-4, atol=1e-6)


def test_a_model_can_be_wrapped_twice():
    model = functional()
    for _ in range(2):
        MidasModel.from_functional(model, features=NAMES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"features": ["audio_features", "nothing"]},
            ValueError,
            "features of modality 1: expected the name of one of",
        ),
        ({"features": ["audio_features"]}, ValueError, "features: expected two or more modalities, got 1"),
        (
            {"features": ["audio_features", 3]},
            TypeError,
            "features of modality 1: expected the name of a layer or a tensor, got int",
        ),
        ({"features": NAMES, "head": "nothing"}, ValueError, "head: expected the name of one of the layers"),
        ({"features": NAMES, "num_classes": 4}, ValueError, "head: expected 4 logits, as many as num_classes, got 3"),
        ({"features": NAMES, "model": keras.layers.Dense(3)}, TypeError, "model: expected a functional Keras model"),
    ],
)
def test_what_does_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        MidasModel.from_functional(**{"model": functional(), **arguments})


def test_a_head_that_looks_past_the_features():
    with pytest.raises(ValueError, match="expected layers through which everything reaches the head"):
        MidasModel.from_functional(functional(skip=True), features=NAMES)
