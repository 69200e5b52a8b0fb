"""The paper's experiments on a handful of files, two steps each, with tiny encoders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.accuracy.__main__ import accuracy
from benchmarks.accuracy.datasets.base import DataError
from benchmarks.accuracy.paper import EXPERIMENTS
from benchmarks.accuracy.paper_run import PAPER_METHODS, PaperOptions, make_accelerator
from benchmarks.accuracy.paper_training import Training
from tests.benchmarks.accuracy.datasets import made

ROOT = Path(__file__).parents[3]


def arguments(name, folder, output, *more, epochs=2):
    factor = epochs / EXPERIMENTS[name].epochs
    return [
        *("--data", name, "--root", folder, "--output", output / "run", "--cache", output / "cache", "--workers", 0),
        *("--encoders", "tiny", "--seeds", 1, "--epoch-factor", factor, *more),
    ]


def call(*given, **options):
    return CliRunner().invoke(accuracy, list(map(str, arguments(*given, **options))))


def results(output):
    (task,) = json.loads((output / "run/results.json").read_text())["comparison"].values()
    return task


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_steps_on_every_data_set(made_once, tmp_path, name):
    result = call(name, made_once / name, tmp_path, "--methods", "MIDAS", "--json", tmp_path / "copy.json")
    assert result.exit_code == 0, result.output
    task = results(tmp_path)
    says = f"{task['classes']} classes; the paper has {EXPERIMENTS[name].classes}"
    assert (says in result.output) == (task["classes"] != EXPERIMENTS[name].classes)
    assert task["epochs"] == 2
    assert task["modalities"] == list(EXPERIMENTS[name].decoders)
    (run,) = task["methods"]["MIDAS"]["runs"]
    assert run["setting"] == [0, EXPERIMENTS[name].learning_rate, EXPERIMENTS[name].weight]
    assert 0 < run["best"]["cross-entropy"] < 10
    assert {"vote", "end"} <= set(run)
    assert json.loads((tmp_path / "copy.json").read_text())["comparison"].keys() == {name}


def test_every_method_trains_and_finished_runs_are_kept(made_once, tmp_path):
    given = ("cmu-mosi", made_once / "cmu-mosi", tmp_path, "--split", "leak-free")
    assert call(*given, epochs=1).exit_code == 0
    assert list(results(tmp_path)["methods"]) == list(PAPER_METHODS)
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/cells").rglob("*.json")}
    assert len(cells) == len(PAPER_METHODS)
    (tmp_path / "run/cells/cmu-mosi/SMV.0.json").unlink()
    result = call(*given, epochs=1)
    assert result.exit_code == 0
    assert "SMV" in result.output
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/cells").rglob("*.json")}
    assert [path.name for path in cells if again[path] != cells[path]] == ["SMV.0.json"]
    result = call(*given, "--split", "paper", epochs=1)
    assert result.exit_code == 2
    assert "expected split paper, found leak-free in comparison.json; its runs are kept" in result.output


def test_training_learns_by_the_optimizer_of_the_paper(tmp_path, monkeypatch):
    made.cmu_mosi(tmp_path / "set", each=30)
    seen = []
    step = torch.optim.SGD.step

    def watched(self, *given):
        seen.append([self.param_groups[0][key] for key in ("lr", "momentum", "weight_decay")])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    assert call("cmu-mosi", tmp_path / "set", tmp_path, "--methods", "joint", epochs=28).exit_code == 0
    assert seen == [[1e-2, 0.9, 1e-4]] * 20 + [[pytest.approx(1e-3), 0.9, 1e-4]] * 8
    (run,) = results(tmp_path)["methods"]["joint"]["runs"]
    assert run["best"]["accuracy"] > 0.8


@pytest.mark.parametrize("method", ["MIDAS", "MCR"])
def test_a_training_that_was_killed_goes_on_where_it_was(made_once, tmp_path, monkeypatch, method):
    given = ("crema-d", made_once / "crema-d")
    assert call(*given, tmp_path / "whole", "--methods", method, epochs=3).exit_code == 0

    epoch = Training._epoch

    def killed(self, number):
        if number == 2:
            raise OSError("killed")
        epoch(self, number)

    monkeypatch.setattr(Training, "_epoch", killed)
    result = call(*given, tmp_path / "parts", "--methods", method, epochs=3)
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, "Error: killed")
    (checkpoint,) = (tmp_path / "parts").rglob("*.pt")

    numbers = []
    monkeypatch.setattr(Training, "_epoch", lambda self, number: (numbers.append(number), epoch(self, number)))
    assert call(*given, tmp_path / "parts", "--methods", method, epochs=3).exit_code == 0
    assert numbers == [2]
    assert not checkpoint.exists()
    whole, parts = (results(tmp_path / x)["methods"][method]["runs"][0] for x in ("whole", "parts"))
    assert parts | {"seconds": 0} == whole | {"seconds": 0}


def test_two_processes_train_as_one_does(tmp_path):
    made.cmu_mosi(tmp_path / "set", each=30)
    given = ("cmu-mosi", tmp_path / "set")
    assert call(*given, tmp_path / "one", "--methods", "joint").exit_code == 0
    # --standalone takes a port that is free.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "benchmarks.accuracy"]
    subprocess.run(
        [sys.executable, *torchrun, *map(str, arguments(*given, tmp_path / "two", "--methods", "joint"))],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    one, two = (json.loads((tmp_path / x / "run/cells/cmu-mosi/joint.0.json").read_text()) for x in ("one", "two"))
    assert two["run"]["history"]["training_loss"] == pytest.approx(one["run"]["history"]["training_loss"], rel=1e-5)
    assert two["run"]["end"]["cross-entropy"] == pytest.approx(one["run"]["end"]["cross-entropy"], rel=1e-5)


def test_what_is_damaged_is_refused_or_skipped(made_once, tmp_path):
    root = Path(shutil.copytree(made_once / "crema-d", tmp_path / "set"))
    (root / "VideoFlash/1001_DFA_ANG_XX.flv").write_bytes(b"no video")
    (root / "AudioWAV/1002_DFA_SAD_XX.wav").unlink()
    given = ("crema-d", root, tmp_path, "--methods", "joint")
    result = call(*given, epochs=1)
    assert result.exit_code == 2
    assert "expected 30 samples that can be read, found 2 problems: " in result.output
    result = call(*given, "--damaged", "skip", epochs=1)
    assert result.exit_code == 0
    assert "Skipped, 2 problems: " in result.output
    problems = json.loads((tmp_path / "run/problems.json").read_text())
    assert [Path(problem["name"]).name for problem in problems] == ["1002_DFA_SAD_XX.wav", "1001_DFA_ANG_XX.flv"]
    task = results(tmp_path)
    assert task["problems"] == 2
    assert sum(task["sizes"].values()) == 28


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "halves"), "--data crema-d: expected a data set of the paper alone, got halves, crema-d"),
        (("--jobs", "2"), "--jobs is for small tasks, got --data crema-d"),
        (("--methods", "MIDAS,input MixUp"), "--methods: input MixUp is for small tasks, got --data crema-d"),
    ],
)
def test_options_that_do_not_fit_are_refused(made_once, tmp_path, more, message):
    result = call("crema-d", made_once / "crema-d", tmp_path, *more)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")


def test_options_of_the_other_kind_are_refused():
    result = CliRunner().invoke(accuracy, ["--data", "halves", "--split", "paper"])
    assert result.exit_code == 2
    assert "--split is for the paper's data sets, got --data halves" in result.output
    result = CliRunner().invoke(accuracy, ["--data", "crema-d"])
    assert result.exit_code == 2
    assert "--data crema-d needs --root FOLDER" in result.output


def test_a_run_that_is_stopped_says_how_to_go_on(made_once, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_epoch", stopped)
    result = call("cmu-mosi", made_once / "cmu-mosi", tmp_path, "--methods", "joint")
    assert result.exit_code == 130
    assert "Stopped. The same command goes on with what is finished in" in result.output


def test_another_layout_is_one_sentence(made_once, tmp_path):
    result = call("crema-d", made_once / "sarcasm", tmp_path)
    assert result.exit_code == 2
    assert "found no folder VideoFlash, but dataset_image, text" in result.output


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    import accelerate

    monkeypatch.setattr(accelerate.Accelerator, "num_processes", 3)
    with pytest.raises(DataError, match="processes: expected a divisor of the batch of 64, got 3"):
        make_accelerator()


def options(name, **changes):
    given = {
        "root": ROOT,
        "methods": ("MIDAS",),
        "seeds": 1,
        "epoch_factor": 1.0,
        "output": ROOT,
        "split": "paper",
        "damaged": "skip",
        "cache": ROOT,
        "encoders": "paper",
        "workers": 0,
    }
    return PaperOptions(data=name, **{**given, **changes})


def test_the_settings_are_those_of_the_paper():
    rows = {
        name: (plan.learning_rate, plan.epochs, plan.step, plan.strength, plan.batch_size, plan.pretrained)
        for name in EXPERIMENTS
        for plan in [options(name).plan("MIDAS", 0)]
    }
    assert rows == {
        "kinetics-sounds": (1e-3, 70, 50, 5, 64, False),
        "crema-d": (1e-3, 70, 50, 1, 64, False),
        "ucf-101": (1e-2, 70, 50, 1, 64, False),
        "food-101": (1e-3, 30, 15, 1, 64, True),
        "cmu-mosi": (1e-2, 70, 50, 1, 64, False),
        "sarcasm": (1e-3, 70, 50, 1, 64, True),
        "twitter2015": (1e-3, 70, 50, 1, 64, True),
    }
    made_by = options("kinetics-sounds").make("MIDAS").keywords
    assert made_by == {"warmup_epochs": 10, "eta": 0.05}
    assert options("kinetics-sounds").plan("OGM-GE", 0).strength == 0.3
