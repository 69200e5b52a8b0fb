"""A Keras model on real data: samples that lack a modality, several labels, weights, label smoothing."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, Misalign
from tests.adapters.keras.loops import CLASSES, array, compiled, make_data, make_model, value


def make_real(samples=24):
    """Inputs with a mask, NaN where it is False, and rows of labels."""
    x, y = make_data(samples)
    rng = np.random.default_rng(0)
    present = rng.random((samples, 2)) < 0.7
    for m, name in enumerate(x):
        x[name][~present[:, m]] = 0
    return {**x, "present": present}, np.eye(CLASSES, dtype="int32")[y] | rng.integers(0, 2, (samples, CLASSES))


def real_loss():
    return MidasLoss(multi_label=True, label_smoothing=0.1, class_weights=[0.5, 1.0, 2.0], seed=3)


def test_fit_evaluate_predict_and_save(tmp_path):
    x, y = make_real()
    model = compiled(make_model(built=False, probabilities="sigmoid"), loss=real_loss(), metrics=["binary_accuracy"])
    weights = np.linspace(0, 2, len(y)).astype("float32")
    history = model.fit(x, y, sample_weight=weights, batch_size=12, epochs=2, validation_data=(x, y), verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(model.step) == 4
    predictions = model.predict(x, verbose=0)
    assert (predictions > 0).all()
    assert not np.allclose(predictions.sum(axis=1), 1)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.options == model.loss.options
    np.testing.assert_allclose(again.predict(x, verbose=0), predictions, rtol=1e-5)


def test_what_is_missing_counts_as_a_feature_of_zeros():
    x, _ = make_real()
    model = make_model()
    features = model.encode(x)
    for m, feature in enumerate(features):
        np.testing.assert_array_equal((array(feature) == 0).all(axis=1) | x["present"][:, m], True)
        assert not array(feature)[~x["present"][:, m]].any()
    garbage = {**x, "audio": np.where(x["present"][:, :1], x["audio"], np.nan)}
    np.testing.assert_array_equal(model.predict(garbage, verbose=0), model.predict(x, verbose=0))


@pytest.mark.once
def test_errors_name_the_mask():
    x, y = make_real()
    model = compiled(loss=real_loss())
    with pytest.raises(ValueError, match=r"present: expected shape \(B, M\) = \(24, 2\), got \(24, 1\)"):
        model.encode({**x, "present": x["present"][:, :1]})
    with pytest.raises(ValueError, match=r"labels: expected shape \(B, C\) = \(\?, 3\), got"):
        model.compute_loss(x, y[:, 0], None)


@pytest.mark.once
def test_probabilities_have_to_fit_the_labels():
    with pytest.raises(ValueError, match="probabilities of the model: expected 'sigmoid' or False"):
        compiled(make_model(probabilities=True), loss=real_loss())
    with pytest.raises(ValueError, match="expected 'softmax' or False with multi_label=False, got 'sigmoid'"):
        compiled(make_model(probabilities="sigmoid"))


def test_the_augmentation_alone():
    x, y = make_real()
    logits = {name: np.random.default_rng(m).normal(size=y.shape) for m, name in enumerate(("audio", "video"))}
    for m, z in enumerate(logits.values()):
        z[~x["present"][:, m]] = np.nan
    batch = {**x, "labels": y, "sample_weight": np.ones(len(y), "float32")}
    layer = Misalign(num_classes=CLASSES, multi_label=True, similarity=None, seed=0)
    out = value(lambda: layer(batch, unimodal_logits=logits, training=True))
    np.testing.assert_array_equal(out["sample_weight"] > 0, out["present"].all(axis=1) & (out["sample_weight"] > 0))
    assert 0 < out["sample_weight"].sum() < 2 * len(y)
    for m, name in enumerate(("audio", "video")):
        assert not out[name][~out["present"][:, m]].any()
    assert np.isfinite(out["labels"]).all()
    assert ((out["labels"] > 0) & (out["labels"] < 1)).any()
    same = value(lambda: layer(batch, training=False))
    np.testing.assert_array_equal(same["labels"], y)
    again = Misalign.from_config(layer.get_config())
    assert again.multi_label
