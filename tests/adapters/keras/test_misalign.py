"""The augmentation alone: structure, soft labels, weights, inference, functional models, tf.data."""

import keras
import numpy as np
import pytest

from midas_core import mix, similarity
from midas_core.adapters.keras import Misalign
from midas_core.pairing import draw_sources, pair_classes, pair_mask
from midas_core.partners import Draw
from midas_core.similarity import hard_sample_weight
from tests.adapters.keras.loops import BACKEND, CLASSES, value
from tests.frameworks import get_framework

BATCH = 8
RNG = np.random.default_rng(0)
AUDIO = RNG.normal(size=(BATCH, 4)).astype("float32")
VIDEO = RNG.normal(size=(BATCH, 3)).astype("float32")
LABELS = np.arange(BATCH) % CLASSES
NUMBERS = Draw(RNG.random((1, BATCH)))


def make_layer(**more):
    """A layer whose draw is known."""
    layer = Misalign(num_classes=CLASSES, **more)
    layer.draw = lambda *_: Draw(keras.ops.cast(NUMBERS.partners, "float32"))
    return layer


def batch(**more):
    return {"audio": AUDIO, "video": VIDEO, "labels": LABELS, **more}


def flat(x):
    return np.reshape(x, (2 * BATCH, *np.shape(x)[2:]))


def test_agrees_with_the_core():
    weights = np.linspace(0, 1, BATCH, dtype="float32")
    logits = {"audio": RNG.normal(size=(BATCH, CLASSES)), "video": RNG.normal(size=(BATCH, CLASSES))}
    layer = make_layer()
    out = value(lambda: layer(batch(sample_weight=weights), unimodal_logits=logits, training=True))
    sources = draw_sources(NUMBERS, LABELS, 2)
    mixed = mix([AUDIO, VIDEO], sources)
    np.testing.assert_allclose(out["audio"], flat(mixed[0]))
    np.testing.assert_allclose(out["video"], flat(mixed[1]))
    classes = pair_classes(LABELS, sources)
    expected = hard_sample_weight(similarity([AUDIO, VIDEO], sources)) * pair_mask(classes) * weights
    np.testing.assert_allclose(out["sample_weight"], flat(expected), rtol=1e-5)
    probabilities = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits.values()]
    confidence = np.stack([p[s, LABELS[s]] for p, s in zip(probabilities, sources, strict=True)])
    shares = confidence / confidence.sum(axis=0)
    soft = sum(share[..., None] * np.eye(CLASSES)[c] for share, c in zip(shares, classes, strict=True))
    np.testing.assert_allclose(out["labels"], flat(soft), rtol=1e-5, atol=1e-6)


def test_no_sample_meets_its_own_class():
    layer = Misalign(num_classes=CLASSES, seed=0)
    labels = value(lambda: layer(batch(), training=True)["labels"])
    np.testing.assert_allclose(np.sort(labels, axis=1)[:, 1:], 0.5)


def test_inference_is_the_identity_with_one_hot_labels():
    out = value(lambda: Misalign(num_classes=CLASSES)(batch(sample_weight=np.ones(BATCH)), training=False))
    np.testing.assert_array_equal(out["audio"], AUDIO)
    np.testing.assert_array_equal(out["labels"], np.eye(CLASSES)[LABELS])
    np.testing.assert_array_equal(out["sample_weight"], np.ones(BATCH))


@pytest.mark.once
@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_the_structure_of_the_features_comes_back(kind):
    features = kind([("a", AUDIO), ("b", VIDEO)]) if kind is dict else kind([AUDIO, VIDEO])
    out = value(lambda: make_layer()({"features": features, "labels": np.eye(CLASSES)[LABELS]}, training=True))
    assert type(out["features"]) is kind
    assert list(out) == ["features", "labels"]
    parts = list(out["features"].values()) if kind is dict else out["features"]
    assert [p.shape for p in parts] == [(2 * BATCH, 4), (2 * BATCH, 3)]


def test_raw_inputs_keep_their_dtype():
    images = RNG.integers(255, size=(BATCH, 2, 2, 1)).astype("uint8")
    layer = make_layer(similarity=None)
    out = value(lambda: layer(batch(audio=images, sample_weight=np.ones(BATCH)), training=True))
    assert out["audio"].shape == (2 * BATCH, 2, 2, 1)
    assert out["audio"].dtype == np.uint8
    assert set(out["sample_weight"]) <= {0.0, 1.0}


@pytest.mark.once
def test_shapes_are_known_before():
    layer = Misalign(num_classes=CLASSES)
    shapes = {"audio": (8, 4), "video": (None, 3), "labels": (8,)}
    assert layer.compute_output_shape(shapes) == {"audio": (16, 4), "video": (None, 3), "labels": (16, CLASSES)}
    assert layer.compute_output_shape(shapes, training=False)["audio"] == (8, 4)


def test_in_a_functional_model():
    inputs = {"audio": keras.Input((4,), name="audio"), "video": keras.Input((3,), name="video")}
    inputs["labels"] = keras.Input((), dtype="int32", name="labels")
    mixed = Misalign(num_classes=CLASSES, seed=1)(inputs)
    hidden = keras.layers.Concatenate()([mixed["audio"], mixed["video"]])
    model = keras.Model(inputs, {"logits": keras.layers.Dense(CLASSES)(hidden), "labels": mixed["labels"]})
    assert {name: x.shape for name, x in model.output.items()} == {"logits": (None, CLASSES), "labels": (None, CLASSES)}
    out = value(lambda: model(batch(), training=True))
    assert {name: x.shape for name, x in out.items()} == {"logits": (16, CLASSES), "labels": (16, CLASSES)}
    assert value(lambda: model(batch(), training=False))["logits"].shape == (8, CLASSES)


@pytest.mark.once
def test_config():
    layer = Misalign(num_classes=CLASSES, variant="official", similarity="l2", seed=3, name="mix")
    again = Misalign.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data runs TensorFlow")
def test_inside_tf_data():
    import tensorflow as tf

    layer = Misalign(num_classes=CLASSES, seed=2)
    x = {"audio": AUDIO, "video": VIDEO}
    data = tf.data.Dataset.from_tensor_slices((x, LABELS)).repeat(2).batch(BATCH + 1)
    out = list(data.map(lambda x, y: layer({"features": x, "labels": y}, training=True)))
    assert [tuple(d["labels"].shape) for d in out] == [(18, CLASSES), (14, CLASSES)]
    first = [next(iter(data.map(lambda x, y: layer({**x, "labels": y})))) for _ in range(2)]
    assert (first[0]["audio"].numpy() != first[1]["audio"].numpy()).any()


def test_nothing_comes_back_through_the_confidences():
    """The soft labels are constants; with the square of them the sum over the classes is none."""
    layer, framework = make_layer(), get_framework(BACKEND)
    other = RNG.normal(size=(BATCH, CLASSES)).astype("float32")

    def squared(z):
        mixed = layer(batch(), unimodal_logits={"audio": z, "video": other}, training=True)
        return [keras.ops.sum(mixed["labels"] ** 2)], []

    (slopes,), _ = framework.gradients(squared, [framework.array(other[::-1].copy())])
    assert not slopes[0].any()


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_sample_of_its_own_class_weighs_nothing_but_in_the_official_variant(variant):
    layer = Misalign(num_classes=CLASSES, variant=variant, similarity=None, seed=0)
    given = {"audio": AUDIO, "video": VIDEO, "labels": np.zeros(BATCH, int), "sample_weight": np.ones(BATCH)}
    weights = value(lambda: layer(given, training=True)["sample_weight"])
    assert set(weights) == {1.0 if variant == "official" else 0.0}


@pytest.mark.skipif(BACKEND == "tensorflow", reason="there it runs")
def test_tf_data_of_another_backend_is_refused():
    tf = pytest.importorskip("tensorflow")
    layer = Misalign(num_classes=CLASSES)
    data = tf.data.Dataset.from_tensor_slices({"audio": AUDIO, "video": VIDEO, "labels": LABELS}).batch(BATCH)
    with pytest.raises(TypeError, match=f"expected tensors of {BACKEND}.*KERAS_BACKEND=tensorflow"):
        data.map(layer)
    # What the dataset yields is no symbol.
    found = layer({name: x.numpy() for name, x in next(iter(data)).items()})
    assert found["labels"].shape == (2 * BATCH, CLASSES)
