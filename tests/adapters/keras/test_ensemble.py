"""A model whose heads vote: what it predicts, what metrics see, and what the loss does not."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import JointLoss, MidasLoss, MidasModel
from tests.adapters.keras.loops import BACKEND, array

# For a step or two TensorFlow is quicker untraced.
EAGER = BACKEND == "tensorflow"
WIDTHS = {"audio": 4, "video": 5, "text": 3}


def make(count=2, classes=3, **options):
    """Return a model and its inputs."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(8, width)).astype("float32") for name, width in list(WIDTHS.items())[:count]}
    # 2: the heads differ by enough for a vote to change who wins.
    encoders = {name: keras.layers.Dense(6, kernel_initializer=keras.initializers.RandomNormal(stddev=2)) for name in x}
    model = MidasModel(encoders, num_classes=classes, **options)
    model.build({name: (None, width) for name, width in list(WIDTHS.items())[:count]})
    return model, x


def by_hand(model, x, weight, squash, present=None):
    """Return the mean of probabilities, head by head."""
    given = {**x, "present": present} if present is not None else x
    features = [array(f) for f in model.encode(given)]
    here = np.ones((8, len(features)), bool) if present is None else present

    def run(head, f):
        return squash(array(head(f)))

    fused = run(model.head, np.concatenate(features, axis=1))
    own = np.stack([run(h, f) for h, f in zip(model.unimodal_heads, features, strict=True)])
    count = here.sum(axis=1)[:, None]
    voted = (1 - weight) * fused + weight * (own * here.T[..., None]).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, voted, fused)


def softmax(z):
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("count", [2, 3])
def test_predictions_are_the_mean_of_probabilities(count):
    model, x = make(count, ensemble_weight=0.3)
    present = np.random.default_rng(1).random((8, count)) < 0.5
    for mask in (None, present):
        given = x if mask is None else {**x, "present": mask}
        found = softmax(model.predict(given, verbose=0))
        np.testing.assert_allclose(found, by_hand(model, x, 0.3, softmax, mask), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("probabilities", "squash"), [("softmax", softmax), ("sigmoid", sigmoid)])
def test_predictions_may_be_probabilities(probabilities, squash):
    model, x = make(ensemble_weight=0.6, probabilities=probabilities)
    np.testing.assert_allclose(model.predict(x, verbose=0), by_hand(model, x, 0.6, squash), rtol=1e-4, atol=1e-6)


def test_metrics_follow_the_vote_and_the_loss_does_not():
    plain, x = make()
    plain.compile(optimizer="sgd", loss=MidasLoss(seed=0), metrics=["accuracy"])
    # Labels that the fused head gets right and the unimodal heads, alone, do not all.
    labels = plain.predict(x, verbose=0).argmax(axis=1)
    loss, accuracy = plain.evaluate(x, labels, verbose=0)
    plain.ensemble_weight = 1.0
    same_loss, voted = plain.evaluate(x, labels, verbose=0)
    expected = (by_hand(plain, x, 1.0, softmax).argmax(axis=1) == labels).mean()
    assert accuracy == 1.0
    assert voted == pytest.approx(expected)
    assert voted < 1.0
    assert same_loss == pytest.approx(loss, rel=1e-6)


# Compilation by JAX takes seconds; the Python that differs is the same.
@pytest.mark.parametrize("loss", [MidasLoss(seed=0), *([JointLoss(seed=0)] if BACKEND != "jax" else [])])
def test_training_is_the_same_with_a_vote(loss):
    found = []
    for weight in (0.0, 0.5):
        keras.utils.set_random_seed(1)
        # What a head adds to the loss counts once.
        heads = {
            name: keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(0.1)) for name in ("audio", "video")
        }
        model, x = make(ensemble_weight=weight, unimodal_heads=heads)
        own = type(loss).from_config(loss.get_config())
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss=own, run_eagerly=EAGER)
        losses = [float(model.train_on_batch(x, np.arange(8) % 3)) for _ in range(2)]
        found.append([*losses, *(array(v).sum() for v in model.trainable_variables)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_the_weight_is_saved_and_loaded(tmp_path):
    model, x = make(3, ensemble_weight=0.25)
    model.compile(optimizer="sgd", loss=MidasLoss(), metrics=["accuracy"], run_eagerly=EAGER)
    model.fit(x, np.arange(8) % 3, verbose=0)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    for compiled in (True, False):
        again = keras.models.load_model(tmp_path / "model.keras", compile=compiled)
        assert again.ensemble_weight == 0.25
        np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is TensorFlow's")
def test_the_vote_is_exported(tmp_path):
    import tensorflow as tf

    model, x = make(ensemble_weight=0.5)
    model(x)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.once
def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="ensemble_weight: expected a number"):
        make(ensemble_weight=1.5)
    with pytest.raises(TypeError, match="ensemble_weight: expected a number"):
        make(ensemble_weight="half")
    model, _ = make(ensemble_weight=0.5)
    with pytest.raises(ValueError, match="ensemble_weight: expected 0, or probabilities='sigmoid'"):
        model.compile(loss=MidasLoss(multi_label=True))
    model, _ = make()
    model.compile(loss=MidasLoss(multi_label=True))
    with pytest.raises(ValueError, match=r"with multi_label=True, got .* with probabilities=False"):
        model.ensemble_weight = 0.5
    assert model.ensemble_weight == 0.0
