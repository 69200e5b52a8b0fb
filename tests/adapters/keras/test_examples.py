"""What the documentation shows runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import runpy
from pathlib import Path

import keras
import pytest

from tests.adapters.keras.loops import BACKEND
from tests.pages import PAGES, blocks_of, run_page

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["keras_quickstart", "keras_loops"])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    if name == "keras_quickstart":
        assert found["accuracies"]["MIDAS"] > found["accuracies"]["joint training"] + 0.05
        assert keras.models.load_model("digits.keras", compile=False).count_params() > 0


KERAS_PAGES = [page for page in PAGES if any("import keras" in code for code in blocks_of(page))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.stem == "keras" and BACKEND == "tensorflow" else pytest.mark.once)
        for page in KERAS_PAGES
    ],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page(page, tmp_path, monkeypatch):
    """From top to bottom, as a reader would, on one backend; tf.data on TensorFlow too."""
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.once
@pytest.mark.parametrize("name", ["baselines", "loss", "model", "misalign"])
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"midas_core.adapters.keras.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
