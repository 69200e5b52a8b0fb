"""Data parallel: two simulated devices give the loss and the alpha of one."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss
from tests.adapters.keras.loops import BACKEND, array, compiled, make_data, make_model


def run():
    x, y = make_data(24)
    keras.utils.set_random_seed(0)
    model = compiled(make_model(), loss=MidasLoss(eta=0.3, initial_alpha=2.0, seed=1), run_eagerly=False)
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return history, array(model.alpha)


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is for JAX")
def test_two_devices_give_what_one_gives():
    import jax

    assert len(jax.devices()) == 2
    one, alpha = run()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
    try:
        two, alpha_two = run()
    finally:
        keras.distribution.set_distribution(None)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(alpha_two, alpha, rtol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is for TensorFlow")
def test_one_replica_of_tf_distribute_changes_nothing():
    import tensorflow as tf

    one, alpha = run()
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        two, alpha_two = run()
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(alpha_two, alpha, rtol=1e-6)
