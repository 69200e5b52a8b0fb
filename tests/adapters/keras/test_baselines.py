"""What MIDAS is compared with, in the same model."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import JointLoss, MidasLoss
from midas_core.adapters.keras.baselines import drop_modalities
from midas_core.diagnostics import diagnose
from tests.adapters.keras.loops import CLASSES, array, compiled, make_data, make_model, value


def cross_entropy(logits, y):
    return array(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, logits)).item()


def heads_of(model, x):
    return [array(head(f)) for head, f in zip(model.unimodal_heads, model.encode(x), strict=True)]


def test_joint_training_is_the_plain_cross_entropy():
    x, y = make_data(12)
    model = compiled(loss=JointLoss())
    before = [array(v) for v in model.trainable_variables]
    logits = model.predict(x, verbose=0)
    loss = model.train_on_batch(x, y, return_dict=True)["loss"]
    assert loss == pytest.approx(cross_entropy(logits, y), rel=1e-5)
    assert int(model.step) == 0

    inputs = {name: keras.Input((v.shape[1],), name=f"{name}_input") for name, v in x.items()}
    plain = make_model()
    for v, old in zip(plain.trainable_variables, before, strict=True):
        v.assign(old)
    encoded = [encoder(i) for encoder, i in zip(plain.encoders, inputs.values(), strict=True)]
    same = keras.Model(list(inputs.values()), plain.head(keras.layers.Concatenate()(encoded)))
    same.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    same.train_on_batch(list(x.values()), y)
    for mine, other in zip([*model.encoders, model.head], [*plain.encoders, plain.head], strict=True):
        np.testing.assert_allclose(array(mine.kernel), array(other.kernel), rtol=1e-4, atol=1e-6)
    # The unimodal heads learn beside it.
    assert any((array(v) != old).any() for v, old in zip(model.unimodal_heads[0].variables, before[-4:-2], strict=True))


@pytest.mark.parametrize("weight", [0.5, pytest.param(1.0, marks=pytest.mark.once)])
def test_unimodal_losses_are_added(weight):
    x, y = make_data(12)
    model = compiled(loss=JointLoss(unimodal_weight=weight))
    parts = cross_entropy(model.predict(x, verbose=0), y) + weight * sum(
        cross_entropy(z, y) for z in heads_of(model, x)
    )
    assert model.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(parts, rel=1e-5)


def test_a_sample_loses_one_modality_at_most():
    ones = [np.ones((3000, 2), "float32"), np.ones((3000, 2, 1), "float32"), np.ones((3000, 1), "float32")]
    ones = [keras.ops.convert_to_tensor(x) for x in ones]
    seed = keras.random.SeedGenerator(0)
    kept = np.stack([x.reshape(3000, -1)[:, 0] for x in value(lambda: drop_modalities(ones, 0.6, seed))])
    assert ((kept == 0).sum(axis=0) <= 1).all()
    # Three standard errors of a share of a fifth.
    np.testing.assert_allclose((kept == 0).mean(axis=1), 0.2, atol=0.022)


def test_modality_dropout_is_for_training_alone():
    x, y = make_data(12)
    model = compiled(loss=JointLoss(dropout=1.0, seed=0))
    logits = model.predict(x, verbose=0)
    assert model.test_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(cross_entropy(logits, y), rel=1e-5)
    assert model.train_on_batch(x, y, return_dict=True)["loss"] != pytest.approx(cross_entropy(logits, y), rel=1e-3)


@pytest.mark.once
def test_a_diagnosis_knows_a_baseline_from_midas():
    labels = np.arange(12) % CLASSES
    features = [np.eye(CLASSES)[labels]] * 2
    for loss, midas in ((JointLoss(), False), (MidasLoss(), True)):
        options = {"num_classes": CLASSES, "modalities": ["a", "b"], "unimodal_heads": [lambda x: x] * 2}
        assert (
            diagnose(lambda x: x[:, :CLASSES], features, labels, criterion=loss, probe=False, **options).midas is midas
        )


@pytest.mark.once
def test_a_baseline_is_saved(tmp_path):
    x, y = make_data(12)
    model = compiled(loss=JointLoss(unimodal_weight=0.5, dropout=0.2, class_weights=[1.0, 2.0, 1.0], seed=1))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "joint.keras")
    again = keras.models.load_model(tmp_path / "joint.keras")
    assert again.loss.get_config() == model.loss.get_config()
    assert again.loss.method == "joint + unimodal + dropout"
    assert JointLoss().method == "joint"


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unimodal_weight": -1}, "unimodal_weight: expected"),
        ({"dropout": 1.5}, "dropout: expected"),
        ({"class_weights": [1.0]}, "class_weights: expected 3 numbers"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        compiled(loss=JointLoss(**options))


def test_missing_modalities_and_classes():
    x, y = make_data(12)
    model = compiled(loss=JointLoss(multi_label=True, dropout=0.5))
    mask = np.arange(24).reshape(12, 2) % 3 > 0
    history = model.fit({**x, "present": mask}, np.eye(CLASSES)[y], verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert set(history) >= {"confidence_audio", "unimodal_loss_video"}
