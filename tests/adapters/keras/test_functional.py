"""A functional multimodal model that was there before becomes a MidasModel."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel
from tests.adapters.keras.loops import CLASSES, array, compiled, make_data

layers = keras.layers
NAMES = {"audio": "audio_features", "video": "video_features"}


def functional(ending: str = "softmax", skip: bool = False) -> keras.Model:
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


@pytest.mark.once
def test_a_list_of_layers_and_a_named_head():
    x, _ = make_data(6)
    model = functional("layer")
    wrapped = MidasModel.from_functional(model, features=list(NAMES.values()), head="logits")
    assert not wrapped.probabilities
    np.testing.assert_allclose(array(keras.ops.softmax(wrapped(x))), array(model(x)), rtol=1e-4, atol=1e-6)


@pytest.mark.once
def test_a_model_can_be_wrapped_twice():
    model = functional()
    for _ in range(2):
        MidasModel.from_functional(model, features=NAMES)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": ["audio_features", "nothing"]}, ValueError, "of modality 1: expected the name of one of"),
        ({"features": ["audio_features"]}, ValueError, "features: expected two or more modalities, got 1"),
        ({"features": ["audio_features", 3]}, TypeError, "expected the name of a layer or a tensor, got int"),
        ({"features": NAMES, "head": "nothing"}, ValueError, "head: expected the name of one of the layers"),
        ({"features": NAMES, "num_classes": 4}, ValueError, "head: expected 4 logits, as many as num_classes, got 3"),
        ({"features": NAMES, "model": keras.layers.Dense(3)}, TypeError, "model: expected a functional Keras model"),
    ],
)
def test_what_does_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        MidasModel.from_functional(**{"model": functional(), **arguments})


@pytest.mark.once
def test_a_head_that_looks_past_the_features():
    with pytest.raises(ValueError, match=r"everything reaches the head, got \['audio_features', 'video_features'\]"):
        MidasModel.from_functional(functional(skip=True), features=NAMES)


@pytest.mark.parametrize(
    "ending", ["softmax", *(pytest.param(x, marks=pytest.mark.once) for x in ("layer", "sigmoid"))]
)
def test_the_classifier_that_was_there_is_trained(ending):
    """Its last layer too: when training has ended it is the plain model."""
    x, y = make_data(16)
    model = functional(ending)
    wrapped = compiled(
        MidasModel.from_functional(model, features=NAMES), loss=MidasLoss(multi_label=ending == "sigmoid")
    )
    before = array(model.get_layer("logits").kernel)
    wrapped.fit(x, np.eye(CLASSES)[y], epochs=2, verbose=0)
    assert (array(model.get_layer("logits").kernel) != before).any()
    np.testing.assert_allclose(model.predict(x, verbose=0), wrapped.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_it_is_built(tmp_path, capsys):
    x, y = make_data(16)
    wrapped = compiled(MidasModel.from_functional(functional(), features=NAMES))
    assert wrapped.built
    wrapped.summary()
    assert "0 (0.00 B)" not in capsys.readouterr().out.split("Non-trainable")[0]
    wrapped.save_weights(tmp_path / "model.weights.h5")
    again = compiled(MidasModel.from_functional(functional(), features=NAMES))
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(again.predict(x, verbose=0), wrapped.predict(x, verbose=0), rtol=1e-6)
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    again.fit(x, y, verbose=0, callbacks=[backup])


@pytest.mark.once
def test_tensors_may_be_features():
    audio, video = keras.Input((6,), name="audio"), keras.Input((6,), name="video")
    shared = layers.Dense(5, name="shared")
    first, second = shared(audio), shared(video)
    out = layers.Dense(CLASSES, name="logits")(layers.Concatenate()([first, second]))
    model = keras.Model({"audio": audio, "video": video}, out)
    x = {name: np.random.default_rng(i).normal(size=(4, 6)) for i, name in enumerate(("audio", "video"))}
    wrapped = MidasModel.from_functional(model, features={"audio": first, "video": second})
    np.testing.assert_allclose(array(wrapped(x)), array(model(x)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="got 'shared', which the model calls 2 times; give the tensors themselves"):
        MidasModel.from_functional(model, features={"audio": "shared", "video": "shared"})
    with pytest.raises(ValueError, match="expected a tensor of the model"):
        MidasModel.from_functional(model, features=[first, keras.Input((5,))])


@pytest.mark.once
def test_a_mask_is_used_before_the_feature_or_named():
    text, audio = keras.Input((4,), dtype="int32", name="text"), keras.Input((3,), name="audio")
    tokens = layers.Embedding(5, 3, mask_zero=True, name="tokens")(text)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(tokens)
    hidden = layers.Concatenate()([pooled, layers.Dense(2, name="sound")(audio)])
    model = keras.Model({"text": text, "audio": audio}, layers.Dense(CLASSES)(hidden))
    x = {"text": np.array([[1, 2, 0, 0], [3, 0, 0, 0]]), "audio": np.ones((2, 3), "float32")}
    wrapped = MidasModel.from_functional(model, features={"text": "pooled", "audio": "sound"})
    np.testing.assert_allclose(array(wrapped(x)), array(model(x)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"or the mask of a sequence.*take for the feature the layer that pools"):
        MidasModel.from_functional(model, features={"text": "tokens", "audio": "sound"})


def crossed():
    audio, video = keras.Input((5, 6), name="audio"), keras.Input((5, 6), name="video")
    one = layers.MultiHeadAttention(1, 4)(audio, video)
    two = layers.MultiHeadAttention(1, 4)(video, audio)
    features = [
        layers.GlobalAveragePooling1D(name=f"{name}_features")(x) for name, x in (("audio", one), ("video", two))
    ]
    return keras.Model({"audio": audio, "video": video}, layers.Dense(CLASSES)(layers.Concatenate()(features)))


def chained():
    audio, video = keras.Input((6,), name="audio"), keras.Input((4,), name="video")
    first = layers.Dense(5, name="audio_features")(audio)
    second = layers.Dense(5, name="video_features")(layers.Concatenate()([first, video]))
    return keras.Model({"audio": audio, "video": video}, layers.Dense(CLASSES)(layers.Concatenate()([first, second])))


@pytest.mark.once
@pytest.mark.parametrize("make", [crossed, chained])
def test_features_that_know_the_other_modality_are_refused(make):
    with pytest.raises(
        ValueError, match=r"expected features of this modality alone, got '.*_features', which depends on"
    ):
        MidasModel.from_functional(make(), features=NAMES)


@pytest.mark.once
def test_two_halves_of_one_input_are_two_modalities():
    image = keras.Input((4, 4, 1), name="image")
    halves = [layers.Cropping2D(((0, 0), cut))(image) for cut in ((0, 2), (2, 0))]
    features = [layers.Dense(3, name=f"half_{i}")(layers.Flatten()(x)) for i, x in enumerate(halves)]
    model = keras.Model(image, layers.Dense(CLASSES)(layers.Concatenate()(features)))
    wrapped = compiled(MidasModel.from_functional(model, features=["half_0", "half_1"]))
    images = np.random.default_rng(0).normal(size=(6, 4, 4, 1))
    assert np.isfinite(wrapped.fit(images, np.arange(6) % CLASSES, verbose=0).history["loss"]).all()


@pytest.mark.once
def test_what_cannot_be_cut_says_what_to_do():
    audio, video = keras.Input((6,), name="audio"), keras.Input((4,), name="video")
    nested = keras.Sequential([keras.Input((6,)), layers.Dense(5, name="inner")], name="encoder")
    features = [nested(audio), layers.Dense(5, name="video_features")(video)]
    hidden = layers.Concatenate()(features)
    one = keras.Model([audio, video], layers.Dense(1, activation="sigmoid")(hidden))
    with pytest.raises(ValueError, match=r"got one output; for two classes end in Dense\(2, activation='softmax'\)"):
        MidasModel.from_functional(one, features=["encoder", "video_features"])
    many = keras.Model([audio, video], layers.Dense(3)(hidden))
    MidasModel.from_functional(many, features=["encoder", "video_features"])
    with pytest.raises(ValueError, match="got 'inner'; it is inside the layer 'encoder', which can be named"):
        MidasModel.from_functional(many, features=["inner", "video_features"])
    mask = keras.ops.cast(video[:, :1] > 0, "float32")
    masked = keras.Model([audio, video], layers.Dense(3)(hidden * mask))
    with pytest.raises(ValueError, match=r"the head also depends on another part of the model: .* or the mask"):
        MidasModel.from_functional(masked, features=["encoder", "video_features"])
