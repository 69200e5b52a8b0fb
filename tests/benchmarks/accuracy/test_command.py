import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.accuracy.__main__ import accuracy
from benchmarks.accuracy.cells import TUNING_SEED, best_setting
from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.tasks import TASKS, load
from midas_core.data import Split, Task

ROOT = Path(__file__).parents[3]
TINY = ("--data", "breast-cancer", "--seeds", "2", "--tuning-seeds", "1", "--epoch-factor", "0.02", "--jobs", "1")


def call(output, *more):
    return CliRunner().invoke(accuracy, [*TINY, "--output", str(output), *more], catch_exceptions=False)


def cells(output):
    return {path.name: path.stat().st_mtime_ns for path in (output / "cells").rglob("*.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "accuracy"
    result = call(output, "--methods", "joint,MIDAS")
    assert result.exit_code == 0, result.output
    return output, result.output


def test_the_command_compares(finished):
    output, text = finished
    assert "MIDAS" in text
    content = json.loads((output / "results.json").read_text())
    task = content["comparison"]["breast-cancer"]
    assert task["classes"] == 2
    assert task["epochs"] == 2
    joint, midas = (task["methods"][name] for name in ("joint", "MIDAS"))
    assert joint["strength"] is None
    assert list(midas["strength"]) == ["weight"]
    assert [run["setting"][0] for run in midas["runs"]] == [0, 1]
    for run in midas["runs"]:
        assert {"accuracy", "macro-F1", "calibration error", "cross-entropy", "alone"} <= set(run["best"]) & set(
            run["end"]
        )
        assert list(run["best"]["alone"]) == ["mean", "error", "worst"]
        assert run["vote"]["half"]["accuracy"] > 0.3
        assert 0 <= run["vote"]["chosen"]["weight"] <= 1
        assert run["seconds"] > 0
    assert "vote" not in joint["runs"][0]
    assert (output / "comparison-ranks.png").exists()


def test_only_the_reporting_seeds_see_the_test_data(finished):
    output, _ = finished
    for path in (output / "cells").rglob("*.json"):
        content = json.loads(path.read_text())
        tuning = ".tuning." in path.name
        assert all((run["setting"][0] >= TUNING_SEED) == tuning for run in content["runs"])
        assert all(("best" not in run and "end" not in run and "vote" not in run) == tuning for run in content["runs"])


def test_every_method_tries_as_many_settings(finished):
    output, _ = finished
    sizes = {len(json.loads(path.read_text())["runs"]) for path in (output / "cells").rglob("*.tuning.*.json")}
    assert len(sizes) == 1


def test_what_is_finished_is_not_done_again_and_more_may_be_asked_for(finished):
    output, _ = finished
    before = cells(output)
    assert call(output, "--methods", "joint,MIDAS,modality dropout").exit_code == 0
    after = cells(output)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_a_cell_that_is_lost_is_done_again_alike(finished):
    output, _ = finished
    (lost,) = (output / "cells").rglob("MIDAS.report.*.json")
    before = json.loads(lost.read_text())
    lost.unlink()
    assert call(output, "--methods", "MIDAS").exit_code == 0
    after = json.loads(lost.read_text())
    for one, other in zip(before["runs"], after["runs"], strict=True):
        one.pop("seconds"), other.pop("seconds")
        assert one == other


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"midas_core": "0.0.1"}, "expected midas_core 0.1.0, found 0.0.1 in comparison.json"),
        ({"epoch_factor": 3.0}, "expected epoch_factor 0.02, found 3.0 in comparison.json"),
        ({"format": 0}, "expected format 1, found 0"),
    ],
)
def test_a_folder_of_another_version_is_refused_and_kept(tmp_path, change, expected):
    output = tmp_path / "runs"
    assert call(output, "--methods", "joint").exit_code == 0
    about, before = output / "comparison.json", cells(output)
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    result = call(output, "--methods", "joint")
    assert result.exit_code == 2
    assert expected in result.output
    assert "its runs are kept, choose another --output" in result.output
    assert cells(output) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = call(tmp_path)
    assert result.exit_code == 2
    assert "expected an empty folder or one of python -m benchmarks.accuracy" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_run_is_named(tmp_path):
    assert call(tmp_path, "--methods", "joint").exit_code == 0
    (broken,) = (tmp_path / "cells").rglob("joint.report.*.json")
    broken.write_text("{")
    result = call(tmp_path, "--methods", "joint")
    assert result.exit_code == 2
    assert f"{broken}: expected a finished run" in result.output
    assert "delete it" in result.output


def test_runs_of_other_settings_are_refused(tmp_path, monkeypatch):
    assert call(tmp_path, "--methods", "joint").exit_code == 0
    monkeypatch.setattr(METHODS["joint"], "strengths", (1.0, 2.0, 3.0))
    result = call(tmp_path, "--methods", "joint")
    assert result.exit_code == 2
    assert "expected settings" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--methods", "joint,MIDA"), "--methods: expected one of joint, "),
        (("--data", "nothing"), "--data: expected one of wide-left, "),
        (("--data", "av-clean"), "--data av-clean needs --root FOLDER"),
        (("--data", "av-clean", "--root", "/nowhere"), "found no folder /nowhere"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_bad_arguments_are_one_sentence(tmp_path, arguments, expected):
    result = call(tmp_path / "runs", *arguments)
    assert result.exit_code == 2
    assert expected in result.output
    assert "Traceback" not in result.output


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("benchmarks.accuracy.folder.write_json", full)
    result = call(tmp_path / "runs", "--methods", "joint")
    assert result.exit_code == 2
    assert "No space left on device" in result.output


def test_a_comparison_that_was_killed_goes_on(tmp_path):
    output = tmp_path / "runs"
    command = [sys.executable, "-m", "benchmarks.accuracy", *TINY, "--output", str(output)]
    command += ["--methods", "joint,joint + unimodal,modality dropout", "--epoch-factor", "0.1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while not list(output.rglob("joint.report.*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = cells(output)
    assert before
    assert not (output / "results.json").exists()
    result = call(output, *command[-4:])
    assert result.exit_code == 0, result.output
    after = cells(output)
    assert {name: after[name] for name in before} == before
    assert len(after) == 6


def test_tasks_are_alike_for_every_seed():
    names = tuple(name for name in TASKS if not name.startswith("av-"))
    for name, make in load(names, None).items():
        first, second = make(0), make(1000)
        assert [len(getattr(first, s)) for s in ("training", "validation", "test")] == [
            len(getattr(second, s)) for s in ("training", "validation", "test")
        ]
        assert set(first.training.labels) == set(range(first.num_classes)), name


def test_fewer_classes_keeps_the_first():
    from benchmarks.accuracy.tasks import fewer_classes

    task = fewer_classes(load(("halves",), None)["halves"], 3, 0)
    assert task.num_classes == 3
    assert isinstance(task, Task)
    assert isinstance(task.test, Split)
    assert set(task.test.labels) == {0, 1, 2}
    assert len(task.test.inputs[0]) == len(task.test) == len(task.test.origin["image"])


def test_the_best_setting_is_chosen_by_its_mean_and_of_equal_ones_the_first():
    def run(seed, rate, value):
        return {"setting": [seed, rate, 1.0], "validation_accuracy": value}

    runs = [run(0, 0.1, 0.9), run(1, 0.1, 0.5), run(0, 0.2, 0.8), run(1, 0.2, 0.8), run(0, 0.3, 0.8), run(1, 0.3, 0.8)]
    assert best_setting(runs) == (0.2, 1.0)
