"""Data parallel: two simulated devices give the loss and the alpha of one."""

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


REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from midas_core.adapters.keras import MidasLoss, MidasModel

def run(strategy):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = MidasModel({name: keras.layers.Dense(4) for name in "ab"}, 3)
        model.compile(keras.optimizers.SGD(0.1), loss=MidasLoss(seed=1, weight=0.0), metrics=["accuracy"])
        model.build({"a": (None, 5), "b": (None, 5)})
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(17, 5)).astype("float32") for name in "ab"}
    x["present"] = np.ones((17, 2), "int32")
    y = np.arange(17) % 3
    evaluated = model.evaluate(x, y, batch_size=8, verbose=0)
    stop = keras.callbacks.TerminateOnNaN()
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[stop]).history["loss"]
    return [*evaluated, *history]

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
print(run(two))
print(run(tf.distribute.get_strategy()))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is for TensorFlow")
def test_a_replica_without_samples():
    """17 samples in batches of 8: the last one is a single sample for two replicas."""
    import json
    import os
    import subprocess
    import sys

    run = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, env=os.environ, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    two, one = map(json.loads, run.stdout.strip().splitlines()[-2:])
    assert len(two) == 4
    # Without mixed samples the loss of two replicas is that of one, but for the last batch: a replica takes the mean of
    # its own share.
    np.testing.assert_allclose(two[1], one[1])
    np.testing.assert_allclose(two, one, rtol=0.05)
    assert np.isfinite(two).all()
