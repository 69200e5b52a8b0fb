"""A model whose heads vote: what it predicts, what metrics see, and what the loss does not."""

import keras
import numpy as np
import pytest

from midas_core import ensemble_logits
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


def vote(model, x, weight, present=None, **more):
    """Return the vote of the core on the logits of each head."""
    features = [array(f) for f in model.encode(x if present is None else {**x, "present": present})]
    unimodal = [array(head(f)) for head, f in zip(model.unimodal_heads, features, strict=True)]
    fused = array(model.head(np.concatenate(features, axis=1)))
    return ensemble_logits(fused, unimodal, weight=weight, present=present, **more)


@pytest.mark.parametrize("count", [2, 3])
def test_predictions_are_the_vote(count):
    model, x = make(count, ensemble_weight=0.3)
    present = np.random.default_rng(1).random((8, count)) < 0.5
    for mask in (None, present):
        found = model.predict(x if mask is None else {**x, "present": mask}, verbose=0)
        np.testing.assert_allclose(found, vote(model, x, 0.3, mask), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("probabilities", ["softmax", "sigmoid"])
def test_predictions_may_be_probabilities(probabilities):
    model, x = make(ensemble_weight=0.6, probabilities=probabilities)
    expected = getattr(keras.ops, probabilities)(vote(model, x, 0.6, multi_label=probabilities == "sigmoid"))
    np.testing.assert_allclose(model.predict(x, verbose=0), array(expected), rtol=1e-4, atol=1e-6)


def test_metrics_follow_the_vote_and_the_loss_does_not():
    plain, x = make()
    plain.compile(optimizer="sgd", loss=MidasLoss(seed=0), metrics=["accuracy"])
    # Labels that the fused head gets right and the unimodal heads, alone, do not all.
    labels = plain.predict(x, verbose=0).argmax(axis=1)
    loss, accuracy = plain.evaluate(x, labels, verbose=0)
    plain.ensemble_weight = 1.0
    same_loss, voted = plain.evaluate(x, labels, verbose=0)
    expected = (vote(plain, x, 1.0).argmax(axis=1) == labels).mean()
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
