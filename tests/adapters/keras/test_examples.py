"""What the documentation shows runs as it stands."""

import doctest
import importlib
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.adapters.keras.loops import BACKEND
from tests.pages import PAGES, blocks_of, run_page

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", [pytest.param("keras_quickstart", marks=pytest.mark.once), "keras_loops"])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    if name == "keras_quickstart":
        assert found["accuracies"]["MIDAS"] > found["accuracies"]["joint training"] + 0.05
        assert keras.models.load_model("digits.keras", compile=False).count_params() > 0


KERAS_PAGES = [page for page in PAGES if any("import keras" in code for code in blocks_of(page))]


@pytest.mark.once
@pytest.mark.parametrize("page", KERAS_PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page(page, tmp_path, monkeypatch):
    """From top to bottom, as a reader would, on one backend."""
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.data")
def test_the_code_of_the_page_that_needs_tensorflow():
    names = {"np": np, "x": {"left": np.ones((40, 3)), "right": np.ones((40, 2))}, "labels": np.arange(40) % 10}
    for code in blocks_of("docs/keras.md"):
        if "mix = Misalign" in code or "import tensorflow" in code:
            exec(code, names)
    assert [len(batch["labels"]) for batch in names["dataset"]] == [80]


@pytest.mark.once
@pytest.mark.parametrize("name", ["baselines", "loss", "model", "misalign"])
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"midas_core.adapters.keras.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
