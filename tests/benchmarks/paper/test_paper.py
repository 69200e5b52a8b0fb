"""The paper's experiments on a handful of files, two steps each, with tiny encoders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.paper import training
from benchmarks.paper.__main__ import paper
from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.listing import DataError
from benchmarks.paper.splits import Splits
from benchmarks.paper.training import Plan, Training, make_accelerator
from midas_core.compare.reading import read_features
from tests.benchmarks.paper import made

ROOT = Path(__file__).parents[3]


def arguments(name, root, output, *more, epochs=2, method="MIDAS"):
    folders = ("--output", output / "run", "--cache", output / "cache")
    return [name, root, *folders, "--workers", 0, "--encoders", "tiny", "--epochs", epochs, "--methods", method, *more]


def call(*given, **options):
    return CliRunner().invoke(paper, list(map(str, arguments(*given, **options))))


def results(output):
    return json.loads((output / "run/results.json").read_text())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_steps_on_every_data_set(made_once, tmp_path, name):
    result = call(name, made_once / name, tmp_path, "--features", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    content = results(tmp_path)
    experiment, count = EXPERIMENTS[name], len(content["classes"])
    assert (f"{count} classes; the paper has {experiment.classes}" in result.output) == (count != experiment.classes)
    (run,) = content["runs"]
    assert (run["learning_rate"], run["weight"]) == (experiment.learning_rate, experiment.weight)
    assert 0 < run["cross_entropy"] < 10
    assert len(run["training_loss"]) == 2
    features = read_features(tmp_path / "out.npz")
    assert features.modalities == tuple(experiment.decoders)
    assert np.bincount(features.fold).tolist() == run["sizes"]


def test_training_learns_by_the_optimizer_of_the_paper(tmp_path, monkeypatch):
    made.cmu_mosi(tmp_path / "set", (30, 30, 30))
    seen = []
    step = torch.optim.SGD.step

    def watched(self, *given):
        seen.append([self.param_groups[0][key] for key in ("lr", "momentum", "weight_decay")])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    assert call("cmu-mosi", tmp_path / "set", tmp_path, epochs=28, method="joint").exit_code == 0
    assert seen == [[1e-2, 0.9, 1e-4]] * 20 + [[pytest.approx(1e-3), 0.9, 1e-4]] * 8
    (run,) = results(tmp_path)["runs"]
    assert run["accuracy"] > 0.8
    assert run["macro_f1"] > 0.8
    assert run["validation_accuracy"][run["best_epoch"] - 1] == max(run["validation_accuracy"])


@pytest.mark.parametrize("method", ["MIDAS", "joint"])
def test_a_training_that_was_killed_goes_on_where_it_was(made_once, tmp_path, monkeypatch, method):
    given = ("crema-d", made_once / "crema-d")
    assert call(*given, tmp_path / "whole", epochs=3, method=method).exit_code == 0

    epoch = Training._train_epoch

    def killed(self, number):
        if number == 2:
            raise OSError("killed")
        epoch(self, number)

    monkeypatch.setattr(Training, "_train_epoch", killed)
    result = call(*given, tmp_path / "parts", epochs=3, method=method)
    assert (result.exit_code, result.output.splitlines()[-1]) == (2, "Error: killed")
    # As a kill while the next checkpoint is written leaves it.
    (tmp_path / f"parts/run/{method}-0/epoch-3.partial").mkdir()

    numbers = []
    monkeypatch.setattr(Training, "_train_epoch", lambda self, number: (numbers.append(number), epoch(self, number)))
    assert call(*given, tmp_path / "parts", epochs=3, method=method).exit_code == 0
    assert numbers == [2]
    assert [path.name for path in (tmp_path / f"parts/run/{method}-0").iterdir()] == ["epoch-3"]
    assert results(tmp_path / "parts")["runs"] == results(tmp_path / "whole")["runs"]

    result = call(*given, tmp_path / "parts", epochs=4, method=method)
    assert result.exit_code == 2
    assert "expected a checkpoint of this run, got one with other settings" in result.output
    result = call(*given, tmp_path / "parts", "--split", "leak-free", epochs=3, method=method)
    assert result.exit_code == 2
    assert "choose another --output" in result.output


def test_warm_up_and_learning_rate_shrink_with_the_epochs():
    splits = Splits([], [], [])
    plans = {name: Plan.of(x, "MIDAS", 0, None, "paper", splits) for name, x in EXPERIMENTS.items()}
    assert {
        name: (x.learning_rate, x.epochs, x.step, x.weight, x.warmup_epochs, x.pretrained) for name, x in plans.items()
    } == {
        "kinetics-sounds": (1e-3, 70, 50, 5, 10, False),
        "crema-d": (1e-3, 70, 50, 1, 10, False),
        "ucf-101": (1e-2, 70, 50, 1, 0, False),
        "food-101": (1e-3, 30, 15, 1, 2, True),
        "cmu-mosi": (1e-2, 70, 50, 1, 0, False),
        "sarcasm": (1e-3, 70, 50, 1, 0, True),
        "twitter2015": (1e-3, 70, 50, 1, 0, True),
    }
    short = Plan.of(EXPERIMENTS["crema-d"], "MIDAS", 0, 14, "paper", splits)
    assert (short.epochs, short.step, short.warmup_epochs) == (14, 10, 2)


def test_two_processes_train_as_one_does(tmp_path):
    made.cmu_mosi(tmp_path / "set", (32, 31, 31))
    given = ("cmu-mosi", tmp_path / "set")
    assert call(*given, tmp_path / "one", method="joint").exit_code == 0
    # --standalone takes a port that is free.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "benchmarks.paper"]
    subprocess.run(
        [sys.executable, *torchrun, *map(str, arguments(*given, tmp_path / "two", method="joint,MIDAS"))],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    one, two = (results(tmp_path / x)["runs"][0] for x in ("one", "two"))
    # Whole batches: Accelerate fills up a last one that is not.
    assert one["sizes"][0] == 64
    assert two["training_loss"] == pytest.approx(one["training_loss"], rel=1e-5)
    assert two["cross_entropy"] == pytest.approx(one["cross_entropy"], rel=1e-5)


def test_what_is_damaged_is_refused_or_skipped(made_once, tmp_path):
    root = Path(shutil.copytree(made_once / "crema-d", tmp_path / "set"))
    (root / "VideoFlash/1001_DFA_ANG_XX.flv").write_bytes(b"no video")
    (root / "AudioWAV/1002_DFA_SAD_XX.wav").unlink()
    result = call("crema-d", root, tmp_path, epochs=1)
    assert result.exit_code == 2
    assert "samples: expected 30 that can be read, got 2 problems: " in result.output
    result = call("crema-d", root, tmp_path, "--damaged", "skip", epochs=1)
    assert result.exit_code == 0
    assert "Skipped, 2 problems: " in result.output
    content = results(tmp_path)
    names = [Path(problem["name"]).name for problem in content["problems"]]
    assert names == ["1002_DFA_SAD_XX.wav", "1001_DFA_ANG_XX.flv"]
    assert sum(content["runs"][0]["sizes"]) == 28


def test_a_run_that_is_stopped_says_how_to_go_on(made_once, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Training, "_train_epoch", stopped)
    result = call("cmu-mosi", made_once / "cmu-mosi", tmp_path)
    assert result.exit_code == 130
    assert "Stopped. The same command goes on with what is finished in" in result.output


def test_bad_calls_are_one_sentence(made_once, tmp_path):
    result = call("crema-d", made_once / "sarcasm", tmp_path)
    assert result.exit_code == 2
    assert "found no folder VideoFlash, but dataset_image, text" in result.output
    result = call("crema-d", made_once / "crema-d", tmp_path, method="joint,OGM")
    assert result.exit_code == 2
    assert "--methods: expected one of joint, MIDAS, got 'OGM'" in result.output


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    import accelerate

    monkeypatch.setattr(accelerate.Accelerator, "num_processes", 3)
    with pytest.raises(DataError, match="processes: expected a divisor of the batch of 64, got 3"):
        make_accelerator()
