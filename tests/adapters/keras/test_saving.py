"""Save and load: in the middle of training, with and without the compilation, weights alone."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel, Misalign
from tests.adapters.keras.loops import CLASSES, array, compiled, loss_and_gradients, make_data, make_model


def trained(**options):
    """A model in the middle of its training, in a state that no fresh model has."""
    x, y = make_data(24)
    loss = MidasLoss(eta=0.3, initial_alpha=2.0, warmup_epochs=1, seed=5)
    model = compiled(make_model(**options), loss=loss, optimizer=keras.optimizers.Adam(0.01))
    model.fit(x, y, batch_size=12, epochs=2, verbose=0)
    return model, {name: v[:12] for name, v in x.items()}, y[:12]


def next_steps(model, x, y):
    model.reset_metrics()
    found = []
    for _ in range(2):
        model.reset_metrics()
        found.append(model.train_on_batch(x, y, return_dict=True))
    return found


def state(model):
    seed = model.midas_state.seed_generator.state
    return [array(v).tolist() for v in (model.alpha, model.step, model.epoch, seed)]


def test_a_loaded_model_goes_on_as_if_nothing_had_happened(tmp_path):
    model, x, y = trained()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert state(again) == state(model)
    assert state(again)[1:3] == [2, 2]
    assert isinstance(again.loss, MidasLoss)
    assert again.loss.options == model.loss.options
    for mine, other in zip(next_steps(again, x, y), next_steps(model, x, y), strict=True):
        assert mine == pytest.approx(other, rel=1e-6)


def test_weights_alone_carry_the_state(tmp_path):
    model, x, y = trained()
    model.save_weights(tmp_path / "model.weights.h5")
    again = make_model()
    again.load_weights(tmp_path / "model.weights.h5")
    assert state(again) == state(model)
    # A compile afterwards leaves what was loaded.
    compiled(again, loss=MidasLoss(eta=0.3, initial_alpha=2.0, warmup_epochs=1), optimizer=keras.optimizers.SGD(0.0))
    assert state(again) == state(model)
    model.reset_metrics()  # Older Keras goes on averaging.
    expected = model.train_on_batch(x, y, return_dict=True)
    assert again.train_on_batch(x, y, return_dict=True)["misaligned_loss"] == pytest.approx(expected["misaligned_loss"])


@pytest.mark.once
def test_a_config_makes_the_model_again():
    encoders = {"audio": keras.Sequential([keras.layers.Dense(5)]), "video": keras.layers.Dense(4)}
    head = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(CLASSES)])
    heads = [keras.layers.Dense(CLASSES) for _ in encoders]
    for model in (
        MidasModel(encoders, CLASSES, head=head, unimodal_heads=dict(zip(encoders, heads, strict=True)), name="both"),
        MidasModel(list(encoders.values()), CLASSES, probabilities=True, unimodal_heads=heads),
    ):
        again = keras.models.model_from_json(model.to_json())
        assert again.get_config() == model.get_config()
        assert again.modalities.names == model.modalities.names
        assert [type(e) for e in again.encoders] == [type(e) for e in model.encoders]
        assert again.name == model.name
        assert again.probabilities == model.probabilities


def test_the_weights_of_the_loss_alone():
    x = {"audio": np.eye(6, 4, dtype="float32"), "video": np.ones((6, 2), "float32")}
    head = keras.layers.Dense(3)
    head.build((None, 6))
    first, again = (MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 2}) for _ in range(2))
    loss_and_gradients(first, head, x, np.arange(6) % 3)
    pairs = list(zip((first.state, *first.unimodal_heads), (again.state, *again.unimodal_heads), strict=True))
    for old, new in pairs:
        store = {}
        old.save_own_variables(store)
        new.load_own_variables({name: array(v) for name, v in store.items()})
    assert int(again.step) == 1
    expected, found = (loss_and_gradients(loss, head, x, np.arange(6) % 3)[0] for loss in (first, again))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_stream_of_the_augmentation_is_saved(tmp_path):
    inputs = {"audio": keras.Input((4,), name="audio"), "video": keras.Input((2,), name="video")}
    inputs["labels"] = keras.Input((), dtype="int32", name="labels")
    model = keras.Model(inputs, Misalign(num_classes=3, seed=4)(inputs))
    x = {"audio": np.eye(6, 4), "video": np.ones((6, 2)), "labels": np.arange(6) % 3}
    model(x, training=True)
    model.save(tmp_path / "mix.keras")
    again = keras.models.load_model(tmp_path / "mix.keras")
    expected, found = model(x, training=True), again(x, training=True)
    for name in x:
        np.testing.assert_array_equal(array(found[name]), array(expected[name]))


@pytest.mark.once
def test_a_new_process_loads_what_it_imports(tmp_path):
    import subprocess
    import sys

    model, x, _ = trained()
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "x.npz", **x)
    code = f"""
import keras, numpy as np
import midas_core.adapters.keras
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
x = dict(np.load({str(tmp_path / "x.npz")!r}))
np.save({str(tmp_path / "found.npy")!r}, model.predict(x, verbose=0))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.predict(x, verbose=0), rtol=1e-5)
