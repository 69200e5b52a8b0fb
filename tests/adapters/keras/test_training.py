"""Warm-up, callbacks, precision, compilation, and what is learned."""

import csv

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss
from tests.adapters.keras.loops import BACKEND, array, compiled, make_data, make_model


@pytest.mark.parametrize(
    ("fits", "misaligned"),
    [
        ([{"epochs": 4}], [False, False, True, True]),
        ([{}] * 3, [False, False, True]),
        pytest.param([{"initial_epoch": 1, "epochs": 3}], [False, True], marks=pytest.mark.once),
    ],
)
def test_fit_counts_the_epochs_of_the_warm_up(fits, misaligned):
    x, y = make_data(12)
    model = compiled(loss=MidasLoss(warmup_epochs=2))
    losses = [loss for fit in fits for loss in model.fit(x, y, verbose=0, **fit).history["misaligned_loss"]]
    assert [loss > 0 for loss in losses] == misaligned
    assert int(model.step) == sum(misaligned)


@pytest.mark.once
def test_a_loop_over_batches_counts_for_itself():
    x, y = make_data(12)
    model = compiled(loss=MidasLoss(warmup_epochs=1))
    model.set_epoch(0)
    assert model.train_on_batch(x, y, return_dict=True)["misaligned_loss"] == 0
    model.set_epoch(1)
    model.reset_metrics()
    assert model.train_on_batch(x, y, return_dict=True)["misaligned_loss"] > 0


@pytest.mark.once
def test_callbacks_see_the_logs(tmp_path):
    x, y = make_data(12)
    callbacks = [
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.EarlyStopping("val_misaligned_loss", mode="min", patience=5, restore_best_weights=True),
    ]
    compiled().fit(x, y, epochs=2, validation_data=(x, y), verbose=0, callbacks=callbacks)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[1]["alpha_audio"]) >= 1
    assert float(rows[1]["confidence_video"]) > 0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64", "floatx"])
def test_policies(policy):
    if policy.startswith("float") and BACKEND == "jax":
        pytest.skip("JAX has no float64 by default")
    x, y = make_data(16)
    full = "float32" if policy.startswith("mixed") else "float64"
    keras.config.set_floatx(full if policy == "floatx" else "float32")
    keras.config.set_dtype_policy(full if policy == "floatx" else policy)
    try:
        traced = {"run_eagerly": False} if policy == "floatx" else {}
        model = compiled(make_model(built=False), loss=MidasLoss(warmup_epochs=1), **traced)
        history = model.fit(x, y, batch_size=8, epochs=3, verbose=0).history
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
    assert keras.backend.standardize_dtype(model.alpha.dtype) == full
    assert model.predict(x, verbose=0).dtype == full
    if policy == "mixed_float16":
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has it on TensorFlow and JAX")
def test_several_steps_per_execution_give_the_same_numbers():
    x, y = make_data(24)
    histories = []
    for steps in (1, 2):
        keras.utils.set_random_seed(0)
        model = compiled(loss=MidasLoss(warmup_epochs=1, seed=1), run_eagerly=False, steps_per_execution=steps)
        histories.append(model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("samples", [1, 2])
def test_small_batches(samples):
    x, y = make_data(samples)
    history = compiled().fit(x, y, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_a_batch_of_one_class_keeps_alpha():
    x, _ = make_data(6)
    model = compiled(loss=MidasLoss(initial_alpha=2.0))
    history = model.fit(x, np.zeros(6, int), epochs=1, verbose=0).history
    assert history["misaligned_loss"] == [0.0]
    assert array(model.alpha).tolist() == [2.0, 2.0]
    assert int(model.step) == 0


def test_compile_keeps_what_was_trained():
    x, y = make_data(12)
    model = compiled(loss=MidasLoss(eta=0.2, initial_alpha=3.0))
    assert array(model.alpha).tolist() == [3.0, 3.0]
    model.fit(x, y, verbose=0)
    alpha = array(model.alpha).tolist()
    compiled(model, loss=MidasLoss(initial_alpha=7.0))
    assert array(model.alpha).tolist() == alpha
    assert int(model.epoch) == 1


def test_evaluation_shows_the_full_loss_also_during_warm_up():
    x, y = make_data(24)
    model, full = compiled(loss=MidasLoss(warmup_epochs=9, seed=1)), compiled(loss=MidasLoss(seed=1))
    full.set_weights(model.get_weights())
    found = model.test_on_batch(x, y)
    np.testing.assert_allclose(found, full.test_on_batch(x, y), rtol=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX always compiles, and test_loss holds it to PyTorch")
def test_a_step_under_xla_is_the_eager_one():
    x, _ = make_data(2)
    # Of two samples there is one pair: the random numbers of TensorFlow are others under XLA.
    y = np.array([0, 1])
    first, models = None, []
    for how in ({"run_eagerly": True}, {"run_eagerly": False, "jit_compile": True}):
        model = compiled(make_model(), loss=MidasLoss(seed=3, warmup_epochs=1), **how)
        if first is not None:
            model.set_weights(first)
        first = [array(w) for w in model.weights]
        found = []
        for epoch in range(2):
            model.set_epoch(epoch)
            found.append(model.train_on_batch(x, y, return_dict=True))
        models.append((model, found))
    (eager, expected), (xla, found) = models
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, err_msg=name)
    trained = zip(xla.trainable_weights, eager.trainable_weights, strict=True)
    for one, other in trained:
        np.testing.assert_allclose(array(one), array(other), rtol=1e-4, atol=1e-5)
