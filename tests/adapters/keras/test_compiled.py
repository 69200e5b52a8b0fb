"""A step that XLA compiles does what it does eagerly."""

import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss
from tests.adapters.keras.loops import BACKEND, array, compiled, make_data, make_model


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
