"""The tasks of the tables: read, put together, drawn, and run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from midas_core.compare import suite
from midas_core.compare.search import Source
from midas_core.compare.suite import TASKS, run_suite
from midas_core.compare.training import Recipe
from midas_core.data.digits import halves


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 30)
    labels = np.tile(np.arange(3), 200)
    arrays = {
        name: (labels[:, None] + rng.normal(size=(600, width))).astype("f")
        for name, width in zip("abc", (2, 3, 4), strict=True)
    }
    np.savez(tmp_path / "data.npz", **arrays, labels=labels, groups=people)
    return tmp_path / "data.npz"


def test_arrays_are_put_side_by_side_and_samples_drawn(path, monkeypatch):
    monkeypatch.setattr(suite, "VALIDATION", 30)
    source = suite._natural("data", "", 1, "both=a+c", "b", training=90).open(path)
    assert source.splits == 5
    task = source.make(7)
    assert task.modalities == ("both", "b")
    assert [x.shape for x in task.training.inputs] == [(90, 6), (90, 3)]
    assert len(task.validation) == 30
    assert len(task.test) == 120, "nobody is left out of the test"
    again, other = source.make(7), source.make(12)
    assert np.array_equal(task.training.inputs[0], again.training.inputs[0])
    assert np.array_equal(task.test.labels, other.test.labels), "one part of the people, whatever the seed"
    assert not np.array_equal(task.training.inputs[0], other.training.inputs[0])


def test_the_table_begins_with_natural_tasks():
    natural = [task.natural for task in TASKS.values()]
    assert natural == sorted(natural, reverse=True)
    assert sum(natural) == 7


def test_the_suite_goes_through_its_tasks_and_leaves_out_what_lacks_files(path, tmp_path, monkeypatch):
    about = replace(TASKS["halves"], recipe=Recipe(1), open=lambda _: Source(halves))
    missing = replace(TASKS["wikipedia"], file="natural/wikipedia.npz")
    monkeypatch.setattr(suite, "TASKS", {"wikipedia": missing, "halves": about})
    told = []
    results = run_suite(tmp_path / "out", methods="MIDAS", seeds=2, progress=lambda *x: told.append(x))
    assert list(results) == ["halves"]
    assert list(results["halves"]["methods"]) == ["left alone", "right alone", "joint", "MIDAS"]
    assert told[0][0] == 0
    assert told[-1][:2] == (told[0][1], told[0][1])
    kept = json.loads((tmp_path / "out/results.json").read_text())["tasks"]["halves"]
    assert kept["methods"]["MIDAS"]["accuracy"] == [
        round(run["test"]["accuracy"], 4) for run in results["halves"]["methods"]["MIDAS"]
    ]
