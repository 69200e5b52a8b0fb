"""The model as any Keras model: fit, evaluate, predict, labels, weights of samples, sources of data."""

from functools import partial

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel
from tests.adapters.keras.loops import (
    BACKEND,
    CLASSES,
    array,
    compiled,
    loss_and_gradients,
    make_data,
    make_model,
    value,
)

LOGS = {
    "loss",
    "accuracy",
    "aligned_loss",
    "misaligned_loss",
    *(
        f"{log}_{name}"
        for log in ("unimodal_loss", "alpha", "confidence", "fused_confidence")
        for name in ("audio", "video")
    ),
}


def test_every_term_is_in_the_logs():
    x, y = make_data(24)
    history = compiled().fit(x, y, batch_size=12, epochs=2, validation_data=(x, y), verbose=0).history
    assert set(history) == LOGS | {f"val_{name}" for name in LOGS}
    last = {name: values[-1] for name, values in history.items()}
    parts = sum(
        last[name] for name in ("aligned_loss", "misaligned_loss", "unimodal_loss_audio", "unimodal_loss_video")
    )
    np.testing.assert_allclose(last["loss"], parts, rtol=1e-5)
    assert last["confidence_audio"] + last["confidence_video"] == pytest.approx(1, abs=1e-5)
    assert last["fused_confidence_audio"] + last["fused_confidence_video"] == pytest.approx(1, abs=1e-5)


def test_alpha_in_the_logs_is_the_last_one():
    x, y = make_data(24)
    keras.utils.set_random_seed(1)
    # Far from 1, so that every step moves it.
    model = compiled(loss=MidasLoss(eta=0.5, initial_alpha=4.0, seed=1))
    before = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if BACKEND == "jax":
                self.model.jax_state_sync()
            before.append(array(self.model.alpha))

    history = model.fit(x, y, batch_size=6, epochs=2, verbose=0, callbacks=[Watch()]).history
    assert [history["alpha_audio"][-1], history["alpha_video"][-1]] == pytest.approx(before[-1].tolist())
    assert np.abs(np.mean(before[4:], axis=0) - before[-1]).max() > 0.1


def test_evaluate_and_predict_see_the_fused_logits():
    x, y = make_data(16)
    model = compiled()
    logits = model.predict(x, verbose=0, batch_size=8)
    assert logits.shape == (len(y), CLASSES)
    features = [model.encoders[m](x[name]) for m, name in enumerate(("audio", "video"))]
    np.testing.assert_allclose(logits, array(model.head(keras.ops.concatenate(features, axis=1))), rtol=1e-5, atol=1e-6)
    found = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == y).mean())
    assert set(found) == LOGS
    assert model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True) == found
    assert len(model.evaluate(x, y, batch_size=8, verbose=0)) == len(LOGS)


def test_predictions_may_be_probabilities():
    x, y = make_data(12)
    model = compiled(make_model(probabilities=True))
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    plain = compiled(make_model())
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(found, array(keras.ops.softmax(plain(x))), rtol=1e-5)
    # The loss is that of the logits.
    assert model.test_on_batch(x, y)[0] == pytest.approx(plain.test_on_batch(x, y)[0], rel=1e-6)


def test_a_step_is_that_of_the_loss_in_a_loop():
    """Same loss, same alpha, same gradients: the features that wait for the loss carry their gradient."""
    x, y = make_data(12)
    encoders = {name: keras.layers.Dense(5, name=name) for name in x}
    model = MidasModel(encoders, CLASSES)
    model.build({"audio": (None, 6), "video": (None, 4)})
    model.compile(keras.optimizers.SGD(1.0), loss=MidasLoss(seed=7, weight=2.0))
    criterion = MidasLoss(num_classes=CLASSES, feature_dims={"audio": 5, "video": 5}, seed=7, weight=2.0)
    for mine, other in zip(criterion.unimodal_heads, model.unimodal_heads, strict=True):
        mine.set_weights(other.get_weights())
    before = [array(v) for v in model.trainable_variables]
    features = {name: array(encoder(x[name])) for name, encoder in encoders.items()}
    expected, gradients = loss_and_gradients(criterion, model.head, features, y)
    loss = model.train_on_batch(x, y, return_dict=True)["loss"]
    moved = [old - array(v) for old, v in zip(before, model.trainable_variables, strict=True)]

    assert loss == pytest.approx(expected, rel=1e-5)
    assert array(model.alpha).tolist() == array(criterion.alpha).tolist()
    audio, video, *rest = gradients
    wanted = [x["audio"].T @ audio, audio.sum(axis=0), x["video"].T @ video, video.sum(axis=0), *rest]
    for mine, other in zip(moved, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)


def test_the_encoders_run_once():
    calls = []

    class Counted(keras.layers.Dense):
        def call(self, x, training=None):
            calls.append(training)
            return super().call(x)

    model = MidasModel([Counted(4), Counted(4)], CLASSES)
    x, y = make_data(8)
    x = list(x.values())
    model.build([(None, 6), (None, 4)])
    # On JAX what counts is the trace.
    model.compile("sgd", loss=MidasLoss(), run_eagerly=BACKEND == "tensorflow")
    calls.clear()
    model.train_on_batch(x, y)
    assert calls == [True, True]
    calls.clear()
    model.test_on_batch(x, y)
    assert calls == [False, False]


@pytest.mark.once
def test_class_weights_are_sample_weights():
    x, y = make_data(20)
    by_class = {0: 0.5, 1: 2.0, 2: 0.0}
    weights = np.array([by_class[c] for c in y], "float32")
    losses = []
    for more in ({"class_weight": by_class}, {"sample_weight": weights}):
        keras.utils.set_random_seed(0)
        losses.append(compiled().fit(x, y, batch_size=20, shuffle=False, verbose=0, **more).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    keras.utils.set_random_seed(0)
    model = compiled(loss=MidasLoss(seed=3, reduction="sum"))
    total = model.train_on_batch(x, y, sample_weight=weights, return_dict=True)["loss"]
    assert total == pytest.approx(20 * losses[0], rel=1e-5)
    model.test_on_batch(x, y, sample_weight=weights)


def test_regularizers_of_the_encoders_count():
    x, y = make_data(8)
    encoders = {name: keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(1.0)) for name in x}
    model = compiled(MidasModel(encoders, CLASSES))
    model.build({"audio": (None, 6), "video": (None, 4)})
    squares = sum((array(encoder.kernel) ** 2).sum() for encoder in encoders.values())
    found = model.train_on_batch(x, y, return_dict=True)
    parts = sum(
        found[name] for name in ("aligned_loss", "misaligned_loss", "unimodal_loss_audio", "unimodal_loss_video")
    )
    assert found["loss"] == pytest.approx(parts + squares, rel=1e-5)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.y) // 12)

    def __getitem__(self, i):
        rows = slice(12 * i, 12 * i + 12)
        return {name: v[rows] for name, v in self.x.items()}, self.y[rows]


def _tf_data(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(12)


def _loader(x, y):
    import torch

    rows = [({name: v[i] for name, v in x.items()}, y[i]) for i in range(len(y))]
    return torch.utils.data.DataLoader(rows, batch_size=12)


@pytest.fixture(scope="module")
def from_arrays():
    x, y = make_data(25)
    keras.utils.set_random_seed(0)
    return compiled(run_eagerly=False).fit(x, y, batch_size=12, epochs=2, shuffle=False, verbose=0).history


@pytest.mark.parametrize("source", [_tf_data, _loader, Batches])
def test_sources_of_data(source, from_arrays):
    """25 samples in batches of 12: the last batch is one sample, and the model is built by what comes."""
    x, y = make_data(25)
    keras.utils.set_random_seed(0)
    model = compiled(make_model(built=False), run_eagerly=False)
    history = model.fit(source(x, y), epochs=2, shuffle=False, verbose=0).history
    for name, values in from_arrays.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.once
def test_encoders_in_a_list_take_a_tuple():
    x, y = make_data(12)
    model = compiled(make_model(names=False))
    history = model.fit((x["audio"], x["video"]), y, verbose=0).history
    assert {"alpha_0", "alpha_1", "unimodal_loss_0"} <= set(history)


@pytest.mark.once
def test_summary_shows_the_parts(capsys):
    make_model().summary()
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("audio", "video", "head", "midas_state"))


def test_compute_loss_by_hand():
    """Outside a step nothing waits: the encoders run again."""
    x, y = make_data(12)
    model = compiled()
    expected = model.test_on_batch(x, y, return_dict=True)["loss"]
    found = value(lambda: model.compute_loss(x, y, model(x), training=False))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.once
def test_the_logs_are_short_unless_asked(capsys):
    x, y = make_data(12)
    model = compiled(log_terms=False)
    assert set(model.fit(x, y, validation_data=(x, y), verbose=2).history) == {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
    }
    assert len(max(capsys.readouterr().out.splitlines(), key=len)) < 120
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    with pytest.raises(TypeError, match="log_terms: expected True or False"):
        compiled(log_terms="all")


def test_the_terms_are_means_over_samples():
    """A batch of 12 and one of 3: each counts as many times as it has samples."""
    x, y = make_data(15)
    model = compiled(optimizer=keras.optimizers.SGD(0.0), loss=MidasLoss(eta=0.0, seed=3))
    found = model.evaluate(x, y, batch_size=12, verbose=0, return_dict=True)
    parts = []
    for rows in (slice(0, 12), slice(12, 15)):
        model.reset_metrics()
        parts.append(model.test_on_batch({name: v[rows] for name, v in x.items()}, y[rows], return_dict=True))
    for name in ("aligned_loss", "misaligned_loss", "unimodal_loss_audio", "loss"):
        expected = (12 * parts[0][name] + 3 * parts[1][name]) / 15
        assert found[name] == pytest.approx(expected, rel=1e-5), name


def test_a_batch_without_a_pair_says_nothing_of_confidences():
    x, y = make_data(24)
    y[12:] = y[0]
    found = compiled().evaluate(x, y, batch_size=12, verbose=0, return_dict=True)
    for kind in ("confidence", "fused_confidence"):
        assert found[f"{kind}_audio"] + found[f"{kind}_video"] == pytest.approx(1, abs=1e-5), kind
    # Nothing but such batches: no share of 0, which would be a number.
    model = compiled()
    found = model.evaluate({name: v[12:] for name, v in x.items()}, y[12:], verbose=0, return_dict=True)
    assert np.isnan([v for name, v in found.items() if "confidence" in name]).all()
    assert not [name for name in model.terms.read() if "confidence" in name]
    assert model.terms.read()["aligned_loss"] == pytest.approx(found["aligned_loss"])


@pytest.mark.once
def test_metrics_may_be_a_dict():
    x, y = make_data(12)
    model = compiled(metrics={"logits": "accuracy"}, weighted_metrics={"logits": ["sparse_categorical_accuracy"]})
    assert {"accuracy", "sparse_categorical_accuracy"} <= set(model.fit(x, y, verbose=0).history)


def test_two_classes_and_the_area_under_the_curve():
    x, y = make_data(12)
    encoders = {name: keras.layers.Dense(5) for name in x}
    model = compiled(MidasModel(encoders, 2, probabilities=True), metrics=[keras.metrics.AUC(name="auc")])
    history = model.fit(x, np.eye(2)[y % 2], verbose=0).history
    assert 0 <= history["auc"][0] <= 1
    model = compiled(MidasModel(encoders, 2, probabilities=True), metrics=[keras.metrics.AUC(name="auc")])
    with pytest.raises(Exception) as found:  # noqa: PT011 - each backend has its own
        model.fit(x, y % 2, verbose=0)
    assert "one-hot rows" in "".join(getattr(found.value, "__notes__", []))


def test_activity_regularizers_cost_what_the_aligned_batch_says():
    """Partial products would leave that of the head out; its run on the mixed samples would take its place."""
    x, y = make_data(12)

    def built(strength):
        keras.utils.set_random_seed(1)
        dense = partial(keras.layers.Dense, activity_regularizer=keras.regularizers.L2(strength))
        encoders = {name: dense(5) for name in x}
        model = MidasModel(encoders, CLASSES, head=dense(CLASSES), unimodal_heads={name: dense(CLASSES) for name in x})
        return compiled(model)

    plain, model = built(0.0), built(0.1)
    found, expected = (each.test_on_batch(x, y)[0] for each in (model, plain))
    # What plain Keras says of each layer.
    features = model.encode(x)
    runs = [*zip(model.encoders, x.values(), strict=True), (model.head, keras.ops.concatenate(features, axis=1))]
    runs += zip(model.unimodal_heads, features, strict=True)
    activity = 0.0
    for layer, given in runs:
        layer(given)
        activity += sum(float(array(loss)) for loss in layer.losses)
    assert found - expected == pytest.approx(activity, rel=1e-4)


def test_a_plain_model_says_what_the_loss_is_for():
    x, y = make_data(8)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs))
    model.compile("sgd", loss=MidasLoss(), run_eagerly=BACKEND == "tensorflow")
    with pytest.raises(
        Exception, match=r"compile a MidasModel, or MidasModel\.from_functional\(model, \.\.\.\), with it"
    ):
        model.fit(x["audio"], y, verbose=0)
