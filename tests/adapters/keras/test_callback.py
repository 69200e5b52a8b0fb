"""The run folder that ``fit`` leaves: the one that every other way of training leaves."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasCallback, MidasLoss, MidasModel
from midas_core.runs import read_run
from tests.pages import blocks_of
from tests.report.run_folders import assert_complete, digits

(x, y), validation = digits()


def compiled(*, warmup_epochs=1):
    model = MidasModel({name: keras.layers.Dense(16, activation="relu") for name in ("left", "right")}, num_classes=10)
    loss = MidasLoss(weight=2.0, warmup_epochs=warmup_epochs, seed=0)
    # As in tests.adapters.keras.loops: TensorFlow is quicker untraced, for a few steps.
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"], run_eagerly=eagerly)
    return model


def test_a_run_leaves_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = compiled()
    (block,) = [code for code in blocks_of("docs/trainers.md") if "adapters.keras" in code]
    exec(block, {"model": model, "x": x, "labels": y, "validation": validation})
    # The model was trained before: the run goes on.
    callback = MidasCallback("runs/keras", validation_data=validation, diagnostics={"batch_size": 200})
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    run = assert_complete("runs/keras", epochs=3, own=["accuracy"])
    assert [loss > 0 for loss in run.series("misaligned_loss")[1]] == [False, True, True]
    accuracy = np.mean(model.predict(validation[0], verbose=0).argmax(axis=1) == validation[1])
    assert run.series("val_accuracy")[1][-1] == pytest.approx(accuracy)
    assert run.diagnostics["validation"]["accuracy"] == pytest.approx(accuracy)

    one_hot = np.eye(10, dtype="float32")[validation[1]]
    callback.diagnose([(validation[0], one_hot)], split="test")
    again = read_run("runs/keras")
    assert again.diagnostics["test"]["accuracy"] == pytest.approx(accuracy)
    assert again.metrics == run.metrics
    with pytest.raises(ValueError, match="holds a run already; pass resume=True"):
        compiled().fit(x, y, epochs=1, verbose=0, callbacks=[MidasCallback("runs/keras")])


def plain_model():
    inputs = {name: keras.Input((32,), name=name) for name in ("left", "right")}
    features = [keras.layers.Dense(16, activation="relu", name=f"{name}_features")(x) for name, x in inputs.items()]
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(keras.layers.Concatenate()(features)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_plain_model_leaves_its_folder_too(tmp_path):
    features = {"left": "left_features", "right": "right_features"}
    callback = MidasCallback(tmp_path / "run", validation_data=validation, features=features)
    model = plain_model()
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback]).history
    run = read_run(tmp_path / "run")
    assert run.config["method"] == "joint"
    assert list(run.modalities) == ["left", "right"]
    accuracy = np.mean(model.predict(validation[0], verbose=0).argmax(axis=1) == validation[1])
    assert run.diagnostics["validation"]["accuracy"] == pytest.approx(accuracy)
    assert len(history["val_misaligned_accuracy"]) == 2
    # The same model goes on, and so does its run.
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    assert read_run(tmp_path / "run").series("loss")[0] == [0, 1, 2]
    model = plain_model()
    callback = MidasCallback(tmp_path / "logs", validation_data=validation)
    with pytest.warns(UserWarning, match="validation_data: the model is not diagnosed on it: pass features="):
        model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    run = read_run(tmp_path / "logs")
    assert run.series("accuracy")[1]
    assert not run.diagnostics
    with pytest.raises(ValueError, match="features: expected the features of a plain model"):
        MidasCallback(tmp_path / "other").diagnose(validation)


@pytest.mark.once
def test_a_checkpoint_may_monitor_the_diagnosis(tmp_path):
    """The other callback is given first, and runs after it all the same."""
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", "val_misaligned_accuracy", mode="max", save_best_only=True
    )
    callbacks = [best, MidasCallback(tmp_path / "run", validation_data=validation)]
    history = compiled().fit(x, y, epochs=2, verbose=0, callbacks=callbacks).history
    assert best.best == pytest.approx(max(history["val_misaligned_accuracy"]))
    assert (tmp_path / "best.keras").exists()


def test_the_terms_of_training_and_evaluation_go_to_the_folder_and_not_to_the_logs(tmp_path):
    model = compiled(warmup_epochs=0)
    fit = {"validation_data": validation, "callbacks": [MidasCallback(tmp_path / "run")], "verbose": 0}
    history = model.fit(x, y, epochs=2, **fit).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    run = read_run(tmp_path / "run")
    for prefix in ("", "val_"):
        last = {name: run.series(prefix + name)[1] for name in ("aligned_loss", "misaligned_loss")}
        unimodal = [run.series(f"{prefix}unimodal_loss_{name}")[1] for name in ("left", "right")]
        total = np.add(last["aligned_loss"], 2 * np.array(last["misaligned_loss"])) + np.sum(unimodal, axis=0)
        np.testing.assert_allclose(total, history[f"{prefix}loss"], rtol=1e-4)


@pytest.mark.once
def test_the_folder_knows_the_epochs_of_the_model(tmp_path):
    """The counter goes before this callback: ``initial_epoch`` has moved the epoch when the folder is opened."""
    compiled().fit(x, y, initial_epoch=3, epochs=4, verbose=0, callbacks=[MidasCallback(tmp_path / "run")])
    assert list(read_run(tmp_path / "run").series("loss")[0]) == [3]


@pytest.mark.once
@pytest.mark.parametrize("make", [compiled, plain_model])
def test_each_fold_wants_a_callback_of_its_own(tmp_path, make):
    callback = MidasCallback(tmp_path / "run")
    make().fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    first = read_run(tmp_path / "run").metrics
    with pytest.raises(ValueError, match="holds the last training of this callback, and another one begins"):
        make().fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    assert read_run(tmp_path / "run").metrics == first


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
def test_a_loss_that_is_not_called_is_an_error(tmp_path):
    class Own(MidasModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True))

    model = Own({name: keras.layers.Dense(16) for name in ("left", "right")}, num_classes=10)
    model.compile("adam", MidasLoss())
    with pytest.raises(RuntimeError, match="loss: expected calls of MidasLoss in 7 steps, got none"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[MidasCallback(tmp_path / "run")])
    assert read_run(tmp_path / "run").finished is None


@pytest.mark.once
def test_several_callbacks_take_prefixes(tmp_path):
    names = ["run", "other"]
    fit = {"epochs": 1, "verbose": 0}

    def callbacks(folder, prefixes):
        options = {"validation_data": validation}
        pairs = zip(names, prefixes, strict=True)
        return [MidasCallback(tmp_path / folder / name, prefix=prefix, **options) for name, prefix in pairs]

    logs = compiled().fit(x, y, callbacks=callbacks("both", ["", "other_"]), **fit).history
    assert logs["val_misaligned_accuracy"] == logs["val_other_misaligned_accuracy"]
    with pytest.raises(ValueError, match="prefix: expected another one for each MidasCallback, got '' twice"):
        compiled().fit(x, y, callbacks=callbacks("clash", ["", ""]), **fit)


@pytest.mark.once
def test_validation_data_has_to_last(tmp_path):
    with pytest.raises(TypeError, match="validation_data: expected what can be read in every epoch"):
        MidasCallback(tmp_path, validation_data=(x for x in []))


@pytest.mark.once
def test_the_last_share_of_the_epochs_has_the_aligned_loss_alone(tmp_path):
    model = compiled(warmup_epochs=0)
    callback = MidasCallback(tmp_path / "run", aligned_share=0.5)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    assert (model.loss.aligned_from, read_run(tmp_path / "run").config["aligned_from"]) == (1, 1)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    assert model.loss.aligned_from == 3
    assert [loss > 0 for loss in read_run(tmp_path / "run").series("misaligned_loss")[1]] == [True] + [False] * 5
    plain = MidasCallback(tmp_path / "plain", aligned_share=0.5)
    with pytest.raises(ValueError, match="aligned_share: expected None with Functional, which is not MIDAS"):
        plain_model().fit(x, y, verbose=0, callbacks=[plain])
