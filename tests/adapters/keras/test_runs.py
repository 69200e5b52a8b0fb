"""The run folder that ``fit`` leaves: the one that every other way of training leaves."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasCallback, MidasLoss, MidasModel
from midas_core.runs import read_run
from tests.report.run_folders import assert_complete, digits


def compiled(*, warmup_epochs=1):
    model = MidasModel({name: keras.layers.Dense(16, activation="relu") for name in ("left", "right")}, num_classes=10)
    loss = MidasLoss(weight=2.0, warmup_epochs=warmup_epochs, seed=0)
    # As in tests.adapters.keras.loops: TensorFlow is quicker untraced, for a few steps.
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"], run_eagerly=eagerly)
    return model


def test_a_run_leaves_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (x, y), validation = digits()
    model = compiled()
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "adapters.keras" in code]
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


def test_another_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="expected to be given to fit of a MidasModel, got Sequential"):
        MidasCallback(tmp_path).set_model(keras.Sequential())
