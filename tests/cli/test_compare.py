"""``midas compare`` and ``midas demo``: results, what is kept, and one sentence for what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas_core.compare import search, suite
from midas_core.compare.demo import NAMES, SETTINGS
from midas_core.compare.result import MethodComparison
from midas_core.compare.training import Recipe
from tests.cli.commands import fails, run

LABELS = np.array(["cat", "dog", "owl"] * 30)
PEOPLE = np.arange(90) // 6


def write_features(path, **changes):
    rng, classes = np.random.default_rng(0), np.arange(90) % 3
    arrays = {"audio": np.eye(3)[classes] * 3 + rng.normal(size=(90, 3)), "text": rng.normal(size=(90, 5))}
    np.savez(path, **{name: x for name, x in (arrays | {"labels": LABELS} | changes).items() if x is not None})
    return path


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path / "features.npz")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Two epochs of five settings."""
    monkeypatch.setattr("midas_core.compare.comparison.EPOCHS", (2, 2))
    monkeypatch.setattr(search, "SETTINGS", 3)


def compare(features, tmp_path, *more):
    return run(
        "compare", features, "--output", tmp_path / "out", "--jobs", 1, "--seeds", 5, "--methods", "MIDAS", *more
    )


def without_times(path):
    content = json.loads(Path(path).read_text())
    for runs in content["methods"].values():
        for each in runs:
            each["seconds"] = 0
    return content


def test_the_answer_the_table_and_the_files(features, tmp_path):
    result = compare(features, tmp_path, "--json", tmp_path / "copy.json")
    assert result.exit_code == 0, result.output
    assert "90 samples, 3 classes; features: audio 3, text 5; tested on 5 parts in turn" in result.output
    assert "4 methods, 5 runs of each: about " in result.output
    kept = MethodComparison.from_json((tmp_path / "out/results.json").read_text())
    assert list(kept.content["methods"]) == ["audio alone", "text alone", "joint", "MIDAS"]
    for sentence in kept.sentences():
        assert sentence in result.output
    assert without_times(tmp_path / "copy.json") == without_times(tmp_path / "out/results.json")
    assert (tmp_path / "out/accuracy.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out/report.html").read_text()
    for word in ("MIDAS", "joint", "audio", "text"):
        assert word in page


def test_stopped_at_any_moment_the_same_command_goes_on(features, tmp_path, monkeypatch):
    assert compare(features, tmp_path / "whole").exit_code == 0
    execute, trained = search.execute, []

    def stopped(cell, *given):
        trained.append(cell)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return execute(cell, *given)

    monkeypatch.setattr(search, "execute", stopped)
    result = compare(features, tmp_path / "parts")
    assert result.exit_code == 130
    assert "Stopped: the same command goes on with what is finished in" in " ".join(result.output.split())
    del trained[3]
    trained.append("again")
    assert compare(features, tmp_path / "parts").exit_code == 0
    assert len(trained) == len(set(trained)) == 9
    parts, whole = (without_times(tmp_path / x / "out/results.json") for x in ("parts", "whole"))
    assert parts == whole
    result = compare(features, tmp_path / "parts")
    assert "4 methods, 5 runs of each: finished before" in result.output
    assert len(trained) == 9


def test_groups_folds_labels_and_missing_values(tmp_path):
    holes = np.random.default_rng(0).normal(size=(90, 4))
    holes[4, 1] = np.nan
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    path = write_features(tmp_path / "a.npz", text=holes, labels=None, groups=PEOPLE, fold=np.where(PEOPLE < 12, 0, 2))
    result = compare(path, tmp_path, "--labels", tmp_path / "labels.txt", "--missing", "drop")
    assert result.exit_code == 0, result.output
    assert "89 samples, 15 groups, 3 classes" in result.output
    assert "tested on fold 2" in result.output
    assert "1 of 90 samples left out for NaN or infinite features" in result.output


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"text": np.full((90, 2), np.nan)}, (), "in 90 of 90 samples of text; --missing zero"),
        ({"labels": LABELS[:-1]}, (), "samples: expected as many in every array, got audio 90, text 90, labels 89"),
        ({"labels": np.array(["cat"] * 90)}, (), "labels: expected two classes or more, got one, cat"),
        ({"labels": np.arange(90) % 30}, (), "labels: expected 5 samples or more of every class"),
        ({"groups": np.zeros(90)}, (), "groups: expected three or more, to train, validate and test, got 1"),
        ({"text": np.array([["a"]] * 90)}, (), "text: expected real numbers, got text"),
        ({"text": np.array([[{}]] * 90)}, (), "pickled objects"),
        ({"fold": np.zeros(90)}, (), "fold: expected 0 (training)"),
        ({}, ("--methods", "cats"), "got 'cats'"),
        ({}, ("--labels", "nowhere.txt"), "labels: expected them in one place"),
        ({}, ("--json", "/dev/null/results.json"), "/dev/null"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, change, more, said):
    path = write_features(tmp_path / "features.npz", **change)
    result = fails("compare", path, "--output", tmp_path / "out", *more, said=[said])
    assert len(result.output.strip().splitlines()) <= 3 or "Usage" in result.output
    assert [x.name for x in tmp_path.iterdir()] == ["features.npz"]


def test_bad_calls(features, tmp_path):
    fails("compare", said=["expected FEATURES or --suite"])
    fails("compare", features, "--suite", said=["expected FEATURES or --suite, got both"])
    fails("compare", features, "--root", tmp_path, said=["--root is for --suite"])
    fails(
        "compare",
        tmp_path / "nowhere.npz",
        "--output",
        tmp_path / "out",
        said=["nowhere.npz: expected", "got no such file"],
    )
    fails("compare", features, "--output", features / "out", said=["features.npz"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").touch()
    fails("compare", features, "--output", tmp_path / "out", said=["expected an empty folder or one of a comparison"])


def test_demo_trains_with_the_settings_of_its_file(tmp_path, monkeypatch):
    short = {name: replace(suite.TASKS[name], recipe=Recipe(2)) for name in NAMES}
    monkeypatch.setattr("midas_core.compare.demo.TASKS", short)
    result = run("demo", "--seeds", 2, "--jobs", 1, "--output", tmp_path, "--json", tmp_path / "copy.json")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "results.json").read_text())
    settings = json.loads(SETTINGS.read_text())
    assert list(content) == list(settings) == list(NAMES)
    for name in NAMES:
        assert list(content[name]["methods"]) == list(settings[name])
        for title, runs in content[name]["methods"].items():
            assert [each["setting"] for each in runs] == [[seed, *settings[name][title]] for seed in range(2)]
        assert MethodComparison(content[name]).sentences()[0] in result.output
        assert (tmp_path / name / "report.html").exists()
    assert json.loads((tmp_path / "copy.json").read_text()) == content


def test_a_worker_that_dies_is_one_sentence(features, tmp_path, monkeypatch):
    from concurrent.futures import BrokenExecutor

    def dies(*_):
        raise BrokenExecutor

    monkeypatch.setattr(search, "execute", dies)
    fails("compare", features, "--output", tmp_path / "out", said=["a worker process died", "--jobs 1"])


def test_the_suite_runs_the_tasks_that_need_no_file(tmp_path, monkeypatch):
    tasks = {name: replace(suite.TASKS[name], recipe=Recipe(2)) for name in ("wikipedia", "halves")}
    monkeypatch.setattr(suite, "TASKS", tasks)
    result = run("compare", "--suite", "--methods", "MIDAS", "--seeds", 2, "--jobs", 1, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"halves: {tasks['halves'].title}" in result.output
    assert list(json.loads((tmp_path / "out/results.json").read_text())["tasks"]) == ["halves"]
