"""Options that are set after the start, dtypes, batch normalisation, stateless calls, export, messages."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import JointLoss, MidasLoss, MidasModel
from tests.adapters.keras.loops import BACKEND, CLASSES, array, compiled, loss_and_gradients, make_data, make_model

FEATURES = {"audio": np.eye(6, 4, dtype="float32"), "video": np.ones((6, 2), "float32")}
LABELS = np.arange(6) % 3


def test_a_callback_is_a_schedule_of_lambda():
    """Each epoch has its own weight, from its first batch on."""
    x, y = make_data(12)
    weights = [0.0, 2.0]

    class Schedule(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.loss.weight = weights[epoch]

    model = compiled(loss=MidasLoss(seed=3), run_eagerly=False, optimizer=keras.optimizers.SGD(0.0))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[Schedule()]).history
    for epoch, weight in enumerate(weights):
        terms = {name: values[epoch] for name, values in history.items()}
        parts = terms["aligned_loss"] + terms["unimodal_loss_audio"] + terms["unimodal_loss_video"]
        assert terms["loss"] == pytest.approx(parts + weight * terms["misaligned_loss"], rel=1e-5)
    assert model.get_compile_config()["loss"]["config"]["weight"] == 2.0


def test_the_aligned_finish_in_a_compiled_model():
    """The mirror of the warm-up: the aligned loss alone, alpha and unimodal heads stay; an evaluation has it all."""
    x, y = make_data(12)
    model = compiled(loss=MidasLoss(seed=3, warmup_epochs=1, aligned_from=2, eta=0.3), run_eagerly=False)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if BACKEND == "jax":
                self.model.jax_state_sync()
            seen.append([array(model.alpha).tolist(), array(model.unimodal_heads[0].kernel), array(model.head.kernel)])

    history = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0, callbacks=[Watch()]).history
    unimodal = np.add(history["unimodal_loss_audio"], history["unimodal_loss_video"])
    aligned, misaligned = np.array(history["aligned_loss"]), np.array(history["misaligned_loss"])
    expected = [unimodal[0], aligned[1] + unimodal[1] + misaligned[1], aligned[2]]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    whole = [
        history[f"val_{n}"][2]
        for n in ("aligned_loss", "misaligned_loss", "unimodal_loss_audio", "unimodal_loss_video")
    ]
    assert history["val_loss"][2] == pytest.approx(sum(whole), rel=1e-5)
    assert seen[2][0] == seen[1][0]
    np.testing.assert_array_equal(seen[2][1], seen[1][1])
    assert (seen[2][2] != seen[1][2]).any()


@pytest.mark.once
def test_an_aligned_finish_of_which_nobody_counts_the_epochs():
    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 2}, aligned_from=2)
    with pytest.warns(
        UserWarning, match=r"aligned_from=2, .*never becomes the aligned one\. Call criterion\.set_epoch"
    ):
        criterion(FEATURES, LABELS, head=keras.layers.Dense(3))


@pytest.mark.once
def test_options_of_a_loop_and_of_a_baseline_count_too():
    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 2}, seed=1)
    head = keras.layers.Dense(3)
    terms = criterion.terms(FEATURES, LABELS, head=head, training=False)
    criterion.weight = 0
    assert array(criterion(FEATURES, LABELS, head=head, training=False)) == pytest.approx(
        array(terms.total - terms.misaligned), rel=1e-5
    )
    criterion.initial_alpha = 2.0
    assert array(criterion.alpha).tolist() == [2.0, 2.0]
    x, y = make_data(12)
    model = compiled(loss=JointLoss(), run_eagerly=False, metrics=None)
    before = model.test_on_batch(x, y, return_dict=True)
    model.loss.unimodal_weight = 1.0
    model.reset_metrics()
    added = model.test_on_batch(x, y, return_dict=True)["loss"] - before["loss"]
    assert added == pytest.approx(before["unimodal_loss_audio"] + before["unimodal_loss_video"], rel=1e-5)


@pytest.mark.once
def test_what_is_set_is_checked():
    model = compiled(loss=MidasLoss())
    for name, wrong in (("weight", -1), ("class_weights", [1.0, -1.0])):
        with pytest.raises(ValueError, match=name):
            setattr(model.loss, name, wrong)
    for name, wrong in (("dropout", 2), ("unimodal_weight", -1), ("label_smoothing", 2)):
        with pytest.raises(ValueError, match=name):
            setattr(JointLoss(), name, wrong)
    x, y = make_data(6)
    model.loss.reduction = "none"
    with pytest.raises(ValueError, match="loss: expected reduction 'mean' or 'sum' for compile"):
        model.train_on_batch(x, y)


def test_moving_statistics_see_no_mixed_sample():
    """Those of a fused head are what joint training would have left."""
    x, y = make_data(12)
    kept = []
    for loss in (JointLoss(), MidasLoss(seed=3)):
        keras.utils.set_random_seed(0)
        norm = keras.layers.BatchNormalization()
        head = keras.Sequential([norm, keras.layers.Dense(CLASSES)])
        model = compiled(make_model(head=head), loss=loss, run_eagerly=False, optimizer=keras.optimizers.SGD(0.0))
        model.train_on_batch(x, y)
        kept.append([array(norm.moving_mean), array(norm.moving_variance)])
    np.testing.assert_allclose(kept[1], kept[0], rtol=1e-5)
    assert np.abs(kept[0][0]).max() > 0


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX takes the weights of a layer for constants")
def test_a_layer_is_no_head_of_a_stateless_call():
    import jax

    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 2}, seed=1)
    head = keras.layers.Dense(3)
    head.build((None, 6))
    variables, state = (
        [v.value for v in vs] for vs in (criterion.trainable_variables, criterion.non_trainable_variables)
    )

    def loss(variables, head):
        return criterion.stateless_call(variables, state, FEATURES, LABELS, head=head)[0]

    with pytest.raises(TypeError, match=r"head: expected a function .*lambda z: head\.stateless_call.*got the layer"):
        jax.grad(loss)(variables, head)
    _, gradients = loss_and_gradients(criterion, head, FEATURES, LABELS)
    assert np.abs(gradients[2]).max() > 0


@pytest.mark.skipif(BACKEND == "jax", reason="of JAX it takes jax2tf, which is not here")
def test_an_export_knows_the_dtypes_of_its_inputs(tmp_path):
    text = keras.Sequential([keras.layers.Embedding(7, 3), keras.layers.GlobalAveragePooling1D()])
    model = MidasModel({"text": text, "audio": keras.layers.Dense(3)}, CLASSES)
    x = {"text": np.arange(8, dtype="int32").reshape(2, 4) % 7, "audio": np.ones((2, 3), "float32")}
    expected = array(model(x))
    assert {name: spec.dtype for name, spec in model._signature.items()} == {"text": "int32", "audio": "float32"}
    if BACKEND == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "served", verbose=False)
        served = tf.saved_model.load(str(tmp_path / "served"))
        np.testing.assert_allclose(served.serve(x), expected, rtol=1e-5)


@pytest.mark.once
def test_messages_that_help():
    dense = keras.layers.Dense
    with pytest.raises(ValueError, match="encoders: expected names of modalities without '/', got 'a/b'"):
        MidasModel({"a/b": dense(2), "c": dense(2)}, 3)
    model = MidasModel([keras.layers.Identity(), dense(4)], 3)
    message = r"features of modality 0: expected shape \(B, D\), got \(None, 5, 2\); sequences and images.*pools them"
    with pytest.raises(ValueError, match=message):
        model.build([(None, 5, 2), (None, 2)])

    def broken(y_true, y_pred):
        raise ValueError("shape: mine")

    x, y = make_data(6)
    with pytest.raises(ValueError, match="shape: mine") as raised:
        compiled(metrics=[broken]).fit(x, y, verbose=0)
    assert not getattr(raised.value, "__notes__", [])


def test_the_dtype_of_a_softmax_stays_under_mixed_precision():
    layers = keras.layers
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inputs = [keras.Input((4,)), keras.Input((3,))]
        features = [layers.Dense(5, name=f"features_{m}")(x) for m, x in enumerate(inputs)]
        logits = layers.Dense(CLASSES)(layers.Concatenate()(features))
        whole = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(logits))
        model = MidasModel.from_functional(whole, features=["features_0", "features_1"])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    x = [np.random.default_rng(0).normal(size=(6, n)).astype("float32") for n in (4, 3)]
    predictions = model(x)
    assert keras.backend.standardize_dtype(predictions.dtype) == "float32"
    np.testing.assert_allclose(array(predictions), array(whole(x)), rtol=1e-6)


def test_a_head_nested_with_its_softmax_is_cut():
    layers = keras.layers
    inputs = [keras.Input((4,)), keras.Input((3,))]
    features = [layers.Dense(5, name=f"features_{m}")(x) for m, x in enumerate(inputs)]
    nested = keras.Sequential([keras.Input((10,)), layers.Dense(CLASSES), layers.Softmax()], name="classifier")
    whole = keras.Model(inputs, nested(layers.Concatenate()(features)))
    model = MidasModel.from_functional(whole, features=["features_0", "features_1"])
    assert model.probabilities == "softmax"
    x = [np.random.default_rng(0).normal(size=(6, n)).astype("float32") for n in (4, 3)]
    np.testing.assert_allclose(array(model(x)), array(whole(x)), rtol=1e-5)
    # Behind a layer that hides it, its values tell.
    hidden = layers.Reshape((CLASSES,))(nested(layers.Concatenate()(features)))
    with pytest.raises(ValueError, match=r"head: expected logits, got probabilities.*head= names the layer before"):
        MidasModel.from_functional(keras.Model(inputs, hidden), features=["features_0", "features_1"])
