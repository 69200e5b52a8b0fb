"""The comparison of methods on features: what it says, what it keeps, and that it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from midas_core.compare import search
from midas_core.compare.comparison import compare_methods
from midas_core.compare.methods import METHODS
from midas_core.compare.result import MethodComparison
from midas_core.compare.store import StoreError
from midas_core.data import DataError

FEW = {"methods": ["MIDAS"], "epochs": 2, "seeds": 2}


def made(size=90, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(size) % classes)
    return {
        "audio": np.eye(classes)[labels] + rng.normal(size=(size, classes)),
        "text": rng.normal(size=(size, 4)),
    }, labels


def without_times(result):
    """The result without what differs between two runs of the same thing."""
    content = json.loads(result.to_json())
    for runs in content["methods"].values():
        for run in runs:
            del run["seconds"]
    return content


def test_settings_are_chosen_on_other_seeds_and_without_the_test_samples(monkeypatch):
    cells = []
    execute = search.execute
    monkeypatch.setattr(search, "execute", lambda cell, *rest: cells.append(cell) or execute(cell, *rest))
    features, labels = made()
    result = compare_methods(features, labels, **{**FEW, "seeds": 6})
    assert result.content["splits"] == 5
    tuning = [cell for cell in cells if cell.stage == "tuning"]
    assert {cell.method for cell in tuning} == {"audio alone", "text alone", "joint", "MIDAS"}
    for cell in tuning:
        assert sorted({s.seed for s in cell.settings}) == [1000, 1001, 1002, 1003, 1004]
        assert len(cell.settings) == 9 * 5, "as many settings for every method"
    for run in result.content["methods"]["MIDAS"]:
        seed, rate, strength = run["setting"]
        rates = {s.learning_rate for s in tuning[-1].settings}
        assert seed < 6
        assert rate in rates
        assert strength in METHODS["MIDAS"].strengths


def test_a_setting_is_chosen_by_split():
    runs = [
        {"setting": [seed, rate, 1.0], "validation_accuracy": accuracy}
        for seed, rate, accuracy in [(1000, 0.1, 0.5), (1000, 0.2, 0.6), (1001, 0.1, 0.9), (1001, 0.2, 0.6)]
    ]
    assert search.choose(runs, 1) == {0: (0.1, 1.0)}
    assert search.choose(runs, 2) == {0: (0.2, 1.0), 1: (0.1, 1.0)}


def test_the_best_of_two_methods_is_chosen_run_by_run_on_validation_data():
    runs = {
        "joint": [{"validation_accuracy": x, "test": {"accuracy": 0.5}} for x in (0.5, 0.7, 0.6)],
        "MIDAS": [{"validation_accuracy": x, "test": {"accuracy": 0.9}} for x in (0.6, 0.6, 0.6)],
    }
    best = search.best_of(runs, ("joint", "MIDAS"))
    assert [run["method"] for run in best] == ["MIDAS", "joint", "joint"]


def test_fixed_settings_take_the_place_of_the_search(monkeypatch):
    stages = []
    execute = search.execute
    monkeypatch.setattr(search, "execute", lambda cell, *rest: stages.append(cell.stage) or execute(cell, *rest))
    features, labels = made()
    titles = ["audio alone", "text alone", "joint", "MIDAS"]
    result = compare_methods(features, labels, **FEW, settings={title: (0.01, 2.0) for title in titles})
    assert set(stages) == {"report"}
    assert result.setting("MIDAS") == (0.01, 2.0)


def test_progress_is_told_from_nothing_to_all():
    seen = []
    compare_methods(*made(), **FEW, progress=lambda done, total, what: seen.append((done, total, what)))
    assert seen[0] == (0.0, seen[-1][0], "")
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})
    assert "MIDAS, report" in {what for _, _, what in seen}


def test_two_jobs_find_what_one_finds():
    one, two = (compare_methods(*made(), **FEW, jobs=jobs) for jobs in (1, 2))
    assert without_times(one) == without_times(two)


def test_workers_of_a_dask_cluster_find_the_same(tmp_path):
    joblib, distributed = pytest.importorskip("joblib"), pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        spread = compare_methods(*made(), **FEW, jobs=-1)
    assert without_times(spread) == without_times(compare_methods(*made(), **FEW))


def test_a_result_comes_back_from_its_file(tmp_path):
    result = compare_methods(*made(), **FEW, output=tmp_path / "out")
    again = MethodComparison.from_json((tmp_path / "out" / "results.json").read_text())
    assert again.to_json() == result.to_json()
    assert again.rows() == result.rows()
    assert again.sentences() == result.sentences()


def test_nothing_is_trained_twice(tmp_path, monkeypatch):
    first = compare_methods(*made(), **FEW, output=tmp_path)
    monkeypatch.setattr(search, "execute", lambda *_: pytest.fail("trained again"))
    assert compare_methods(*made(), **FEW, output=tmp_path).to_json() == first.to_json()


def test_a_comparison_that_was_killed_goes_on_and_finds_the_same(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from tests.compare.test_comparison import FEW, made
        from midas_core.compare.comparison import compare_methods
        compare_methods(*made(), **FEW, output=sys.argv[1])
        """
    )
    cells = tmp_path / "out" / "cells" / "data"
    for finished in (1, 4, 6):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "out")], env=os.environ)
        while process.poll() is None and len(list(cells.glob("*.json"))) < finished:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(cells.glob("*.json"))) >= finished
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("*.json")}
    result = compare_methods(*made(), **FEW, output=tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert without_times(result) == without_times(compare_methods(*made(), **FEW))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "data"),
        ({}, "recipe"),
    ],
)
def test_results_of_something_else_are_refused_and_kept(change, said, tmp_path):
    compare_methods(*made(), **FEW, output=tmp_path)
    kept = (tmp_path / "results.json").read_bytes()
    options = FEW if change else {**FEW, "epochs": 3}
    with pytest.raises(StoreError, match=f"output: expected {said} .* its runs are kept, choose another folder"):
        compare_methods(*made(**change), **options, output=tmp_path)
    assert (tmp_path / "results.json").read_bytes() == kept


@pytest.mark.parametrize("content", ["{", "[]", '{"cell": '])
def test_a_damaged_cell_is_named(content, tmp_path):
    compare_methods(*made(), **FEW, output=tmp_path)
    cell = next((tmp_path / "cells").rglob("*.json"))
    cell.write_text(content)
    with pytest.raises(StoreError, match=f"expected a finished run in {cell}, got .*; delete it to train it again"):
        compare_methods(*made(), **FEW, output=tmp_path)


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="expected an empty folder or one of a comparison"):
        compare_methods(*made(), **FEW, output=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": "joint,miidas"}, "methods: expected default, all, or some of late fusion, .*; got 'miidas'"),
        ({"seeds": 0}, "seeds: expected a whole number >= 1, got 0"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1, got 0"),
        ({"jobs": 0}, "jobs: expected a whole number other than 0, got 0"),
        ({"settings": {"MIDAS": (0.1,)}}, "settings: expected .*MIDAS"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(options, said, tmp_path):
    with pytest.raises(DataError, match=said):
        compare_methods(*made(), **{**FEW, **options}, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
