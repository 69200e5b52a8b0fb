"""What the documentation shows runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
from pathlib import Path

import keras
import pytest

from midas_core.runs import read_run

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["keras_quickstart", "keras_loops"])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    if name == "keras_quickstart":
        assert found["model"].history.history["accuracy"][-1] > 0.9
        assert keras.models.load_model("digits.keras", compile=False).count_params() > 0


def test_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict = {}
    for block in blocks:
        if "TensorDataset" not in block:
            exec(block, found)
    scores = found["model"].evaluate(
        {k: v[found["test"]] for k, v in found["x"].items()}, found["labels"][found["test"]]
    )
    assert scores[1] > 0.6
    assert Path("digits.keras").exists()


def test_the_page_about_real_data():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "real-data.md").read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "import keras" in block]
    found: dict = {}
    exec(code, found)
    assert int(found["model"].step) == 1


def test_the_page_about_keras(tmp_path, monkeypatch):
    """Every block, from top to bottom, as a reader would; tf.data where TensorFlow runs."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "keras.md").read_text(), re.DOTALL)
    assert len(blocks) == 10
    found: dict = {}
    for block in blocks:
        if "import tensorflow" not in block or keras.backend.backend() == "tensorflow":
            exec(compile(block, "keras.md", "exec"), found)
    assert found["mixed"]["labels"].shape == (64, 10)
    for name in ("midas", "joint", "unimodal", "dropout"):
        run = read_run(f"runs/{name}")
        assert run.diagnostics["validation"]["accuracy"] > 0.3, name
    plain = keras.models.load_model("classifier.keras")
    accuracy = (plain.predict(found["x"], verbose=0).argmax(axis=1) == found["labels"]).mean()
    assert accuracy > 0.5, "training reached the classifier"


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="untraced JAX compiles every operation by itself")
@pytest.mark.parametrize("name", ["baselines", "loss", "model", "misalign"])
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"midas_core.adapters.keras.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
