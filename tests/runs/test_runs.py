"""The run folder: what is logged comes back, also after a cut and a resume."""

import io
import json
import os
import re
import sys
from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType

import numpy as np
import pytest
import torch

from midas_core.adapters.torch import MidasLoss
from midas_core.runs import RunError, RunLogger, folder, metric_names, read_run

NAMES = ["audio", "video"]


def write_epochs(folder, epochs, **options):
    with RunLogger(folder, modalities=NAMES, **options) as log:
        for epoch in epochs:
            log.log(epoch=epoch, loss=10.0 - epoch, alpha=[1.0, 1.0 + epoch])


def test_what_is_logged_comes_back(tmp_path):
    with RunLogger(
        tmp_path / "a" / "run", modalities=NAMES, class_names=["cat", "dog"], config={"lr": 1e-3, "path": tmp_path}
    ) as log:
        log.log({"loss": 1.5}, epoch=0, step=7)
        log.log({"accuracy": np.float32(0.5)}, epoch=0, prefix="val_", confidence={"video": 0.25, "audio": 0.75})
        log.log_diagnostics({"accuracy": np.float64(0.5), "n": np.int64(3)}, split="test")
    run = read_run(tmp_path / "a" / "run")
    assert (run.name, run.modalities, run.class_names) == ("run", ("audio", "video"), ("cat", "dog"))
    assert run.config == {"lr": 1e-3, "path": str(tmp_path)}
    assert run.metrics == (
        {"epoch": 0, "step": 7, "loss": 1.5},
        {"epoch": 0, "val_accuracy": 0.5, "val_confidence_audio": 0.75, "val_confidence_video": 0.25},
    )
    assert run.diagnostics == {"test": {"accuracy": 0.5, "n": 3}}
    for when in (run.created, run.finished):
        assert datetime.fromisoformat(when).utcoffset() == timedelta(0), "times of several machines compare"
    assert run.problems == ()
    assert "numpy" in run.versions


def test_terms_of_a_step_have_the_public_names(tmp_path):
    criterion = MidasLoss(num_classes=3, feature_dims=(4, 5), seed=0)
    features = [torch.randn(8, 4, requires_grad=True), torch.randn(8, 5)]
    terms = criterion.terms(features, torch.arange(8) % 3, head=torch.nn.Linear(9, 3))
    with RunLogger(tmp_path, modalities=NAMES) as log:
        log.log(terms, step=0)
        log.log(terms, step=0, prefix="val_")
    row, validation = read_run(tmp_path).metrics
    assert list(row) == ["step", *metric_names(NAMES)]
    assert row["loss"] == pytest.approx(terms.total.item())
    assert row["alpha_video"] == terms.alpha[1].item()
    assert validation == {key if key == "step" else f"val_{key}": value for key, value in row.items()}


def test_a_batch_without_a_pair_logs_no_confidences(tmp_path):
    criterion = MidasLoss(num_classes=3, feature_dims=(4, 5), seed=0)
    with RunLogger(tmp_path, modalities=NAMES) as log:
        for labels in (torch.zeros(8, dtype=torch.int64), torch.arange(8) % 3):
            terms = criterion.terms([torch.randn(8, 4), torch.randn(8, 5)], labels, head=torch.nn.Linear(9, 3))
            log.log(terms, epoch=0)
    run = read_run(tmp_path)
    assert not [name for name in run.metrics[0] if "confidence" in name]
    shares = [run.series(f"confidence_{name}")[1][0] for name in NAMES]
    assert sum(shares) == pytest.approx(1), "zeros took part in the mean"


def test_a_series_is_the_mean_of_each_epoch(tmp_path):
    with RunLogger(tmp_path, modalities=NAMES) as log:
        for step in range(4):
            log.log(epoch=step // 2, step=step, loss=float(step))
        log.log(epoch=1, val_accuracy=0.5)
        log.log(epoch=2, loss=float("nan"))
        log.log(epoch=3, step=4, loss=1.0)
        log.log(epoch=3, step=5, loss=float("inf"))
    run = read_run(tmp_path)
    assert run.series("loss") == ([0, 1], [0.5, 2.5])
    assert run.series("val_accuracy") == ([1], [0.5])
    assert run.series("nothing") == ([], [])
    assert run.metrics[-3] == {"epoch": 2, "loss": None}


def test_names_of_any_script_on_a_system_of_another_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "text_encoding", lambda encoding, *level: encoding or "ascii")
    with RunLogger(
        tmp_path, modalities=["vidéo", "音"], class_names=["žába", "猫"], config={"œ": "ß"}, tensorboard=False
    ) as log:
        for epoch in range(2):
            log.log(epoch=epoch, größe=[1.0, 2.0])
    run = read_run(tmp_path)
    assert (run.modalities, run.class_names, run.config) == (("vidéo", "音"), ("žába", "猫"), {"œ": "ß"})
    assert run.series("größe_音") == ([0, 1], [2.0, 2.0])


def test_every_line_is_there_before_the_end(tmp_path):
    log = RunLogger(tmp_path, modalities=NAMES)
    log.log(epoch=0, loss=1.0)
    run = read_run(tmp_path)
    assert run.metrics == ({"epoch": 0, "loss": 1.0},)
    assert run.finished is None
    log.close()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.log(epoch=1, loss=1.0)


def test_a_line_cut_off_is_skipped_and_said(tmp_path):
    write_epochs(tmp_path, range(3))
    file = tmp_path / "metrics.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-15])
    run = read_run(tmp_path)
    assert [row["epoch"] for row in run.metrics] == [0, 1]
    assert run.problems == ("line 3 of metrics.jsonl is cut off: skipped",)
    file.write_bytes(b'{"epoch": 9, "loss": "\xff\n' + whole)
    assert read_run(tmp_path).problems == ("line 1 of metrics.jsonl is damaged: skipped",)
    assert len(read_run(tmp_path).metrics) == 3


def test_resume_appends_and_forgets_what_is_done_again(tmp_path):
    write_epochs(tmp_path, range(5), config={"lr": 0.1}, class_names=["cat", "dog"])
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-5])  # the process was killed
    with RunLogger(tmp_path, modalities=NAMES, resume=True) as log:  # from the checkpoint after epoch 1
        log.log(epoch=2, loss=0.5)
        log.log(epoch=2, val_accuracy=0.5)
    run = read_run(tmp_path)
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2, 2]
    assert run.series("loss") == ([0, 1, 2], [10.0, 9.0, 0.5])
    assert (run.config, run.class_names) == ({"lr": 0.1}, ("cat", "dog"))
    assert len(run.problems) == 1


def test_resume_in_the_middle_of_an_epoch(tmp_path):
    with RunLogger(tmp_path, modalities=NAMES, resume=True) as log:
        for step in range(6):
            log.log(epoch=step // 3, step=step, loss=1.0)
        log.log(epoch=1, val_accuracy=0.5)
    with RunLogger(tmp_path, modalities=NAMES, resume=True) as log:
        log.log(epoch=1, step=4, loss=2.0)
    run = read_run(tmp_path)
    assert [(row["step"], row["loss"]) for row in run.metrics] == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)]


def test_overwrite_begins_another_run(tmp_path):
    write_epochs(tmp_path, range(3))
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.1").write_text("old")
    (tmp_path / "weights.pt").write_text("mine")
    (tmp_path / "metrics.csv").write_text("of an earlier release")
    with RunLogger(tmp_path, modalities=["left", "right"], overwrite=True) as log:
        log.log(epoch=0, loss=1.0)
    run = read_run(tmp_path)
    assert run.modalities == ("left", "right")
    assert run.metrics == ({"epoch": 0, "loss": 1.0},)
    assert not (tmp_path / "metrics.csv").exists()
    assert not list((tmp_path / "tensorboard").iterdir())
    assert (tmp_path / "weights.pt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"^overwrite: expected False with resume=True.*got True$"):
        RunLogger(tmp_path, modalities=NAMES, overwrite=True, resume=True)
    with pytest.raises(TypeError, match="overwrite: expected True or False"):
        RunLogger(tmp_path, modalities=NAMES, overwrite="yes")


def test_a_resumed_run_forgets_lines_by_epoch_beside_lines_by_step(tmp_path):
    def log_from(epoch):
        with RunLogger(tmp_path, modalities=NAMES, resume=True) as log:
            for each in range(epoch, 3):
                log.log(step=2 * each, loss=1.0)
                log.log(step=2 * each + 1, loss=1.0)
                log.log(epoch=each, val_accuracy=float(epoch))

    log_from(0)
    log_from(1)
    run = read_run(tmp_path)
    assert run.series("val_accuracy") == ([0, 1, 2], [0.0, 1.0, 1.0])
    assert run.series("loss")[0] == list(range(6))
    assert len(run.metrics) == 9


def test_hostile_files_are_told_and_left_out(tmp_path):
    write_epochs(tmp_path, range(2))
    file = tmp_path / "metrics.jsonl"
    absurd = ["1e999", "-1e999", "1" + "0" * 400, "1" + "0" * 5000, "NaN", "true", '"x"', "[1]"]
    lines = [f'{{"epoch": 2, "loss": {value}}}\n' for value in absurd]
    file.write_text(file.read_text() + "".join(lines) + '{"epoch": 1e999, "loss": 1}\n' + "[" * 10**5 + "\n" * 100)
    run = read_run(tmp_path)
    assert run.series("loss") == ([0, 1], [10.0, 9.0])
    file.write_text("{\n" * 50)
    assert len(read_run(tmp_path).problems) == 21
    assert "and 30 more lines" in read_run(tmp_path).problems[-1]
    for name in ("metrics.jsonl", "diagnostics.json"):
        (tmp_path / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name)
    assert [problem.split(":")[0] for problem in read_run(tmp_path).problems] == [
        "metrics.jsonl could not be read",
        "diagnostics.json could not be read",
    ]
    (tmp_path / "diagnostics.json").unlink()
    (tmp_path / "diagnostics.json").write_text('{"test":' * 10**5)
    assert "nested too deeply" in read_run(tmp_path).problems[-1]


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    write_epochs(tmp_path, range(2))
    monkeypatch.setattr(folder, "MOST_BYTES", 50)
    with pytest.raises(RunError, match="at most 50 bytes"):
        read_run(tmp_path)
    assert folder.read_metrics(tmp_path / "metrics.jsonl", []) == []


def test_names_are_printable(tmp_path):
    with pytest.raises(ValueError, match="printable characters"):
        RunLogger(tmp_path, modalities=["a\x1b[31m", "b"])
    write_epochs(tmp_path, range(1), name="a\x1b]0;title\x07")
    assert read_run(tmp_path).name == "a\\x1b]0;title\\x07"
    content = json.loads((tmp_path / "run.json").read_text())
    for modalities, said in (([], "got \\[\\]"), (["x"] * 65, "expected the names of 1 to 64")):
        (tmp_path / "run.json").write_text(json.dumps({**content, "modalities": modalities}))
        with pytest.raises(RunError, match=said):
            read_run(tmp_path)


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    write_epochs(tmp_path, range(1))
    with pytest.raises(ValueError, match="holds a run already; pass resume=True"):
        RunLogger(tmp_path, modalities=NAMES)
    with pytest.raises(ValueError, match="has \\['audio', 'video'\\], got \\['left'\\]"):
        RunLogger(tmp_path, modalities=["left"], resume=True)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"loss": 1.0}, ValueError, "an epoch or a step"),
        ({"epoch": -1}, ValueError, "epoch: expected a whole number"),
        ({"epoch": 0, "loss": "low"}, TypeError, "loss: expected a number"),
        ({"epoch": 0, "alpha": [1.0]}, ValueError, "alpha: expected 2 values"),
        ({"epoch": 0, "alpha": {"audio": 1.0}}, ValueError, "alpha: expected one value for each"),
        ({"epoch": 0, "alpha": {"audio": 1.0, "video": "low"}}, TypeError, "^alpha: expected a number"),
        ({"epoch": 0, "loss": np.zeros((2, 2))}, TypeError, "loss: expected a number"),
        ({"metrics": {"epoch": 3}, "epoch": 0}, ValueError, "arguments of log"),
    ],
)
def test_bad_metrics(tmp_path, arguments, error, said):
    with RunLogger(tmp_path, modalities=NAMES) as log, pytest.raises(error, match=said):
        log.log(**arguments)


@pytest.mark.parametrize("argument", ["modalities", "class_names"])
def test_bad_names(tmp_path, argument):
    for given, error, said in (("audio", TypeError, "a sequence"), (["a", "a"], ValueError, "different names")):
        with pytest.raises(error, match=f"^{argument}: expected {said}"):
            RunLogger(tmp_path, **{"modalities": NAMES, argument: given})


def test_folders_without_a_run(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"expected a run folder with run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="expected a JSON file"):
        read_run(tmp_path)
    for other in ([], {"format": "another"}, "x" * 200):
        (tmp_path / "run.json").write_text(json.dumps(other))
        with pytest.raises(RunError, match=re.escape(f"an object of format 'midas-run', got {str(other)[:80]}") + "$"):
            read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": "midas-run", "version": 99}))
    with pytest.raises(RunError, match="version 99"):
        read_run(tmp_path)


def test_damaged_diagnostics_are_left_out(tmp_path):
    write_epochs(tmp_path, range(1))
    (tmp_path / "diagnostics.json").write_text('{"test": {"accu')
    run = read_run(tmp_path)
    assert run.diagnostics == {}
    assert "diagnostics.json could not be read" in run.problems[0]
    for odd in ('{"test": {}, "validation": 5}', "[1]"):
        (tmp_path / "diagnostics.json").write_text(odd)
        run = read_run(tmp_path)
        assert (run.diagnostics, run.problems) == (
            {},
            ("diagnostics.json: expected an object for each split, left out",),
        )


@pytest.mark.parametrize(
    ("key", "value", "kind"), [("class_names", {"a": 1}, "list"), ("config", [1], "dict"), ("versions", 5, "dict")]
)
def test_what_is_odd_in_the_description_is_told_and_left_out(tmp_path, key, value, kind):
    write_epochs(tmp_path, range(1), class_names=["cat", "dog"], config={"lr": 1})
    content = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**content, key: value}))
    run = read_run(tmp_path)
    assert run.problems == (f"{key} in run.json could not be read: expected a {kind}, left out",)
    assert getattr(run, key) == (None if key == "class_names" else {})


def test_empty_lines_end_nothing(tmp_path):
    write_epochs(tmp_path, range(3))
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text().replace("\n", "\n\n \n"))
    run = read_run(tmp_path)
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2]
    assert run.problems == ()


def test_a_run_that_logged_nothing_is_resumed(tmp_path):
    RunLogger(tmp_path, modalities=NAMES).close()
    write_epochs(tmp_path, range(2), resume=True)
    assert [row["epoch"] for row in read_run(tmp_path).metrics] == [0, 1]


def test_what_is_none_is_left_out_and_nothing_else(tmp_path):
    with RunLogger(tmp_path, modalities=NAMES) as log:
        log.log({"before": 1, "gone": None, "after": 2, "alpha": [1, 2]}, epoch=0)
    (row,) = read_run(tmp_path).metrics
    assert row == {"epoch": 0, "before": 1, "after": 2, "alpha_audio": 1, "alpha_video": 2}


def test_tensorboard_gets_the_same(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, tag, value, step):
            written.append((tag, value, step))

        def close(self):
            written.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with RunLogger(tmp_path, modalities=NAMES, tensorboard=True) as log:
        log.log(epoch=3, loss=1.0, alpha=[1.0, 2.0])
    assert written == [
        str(tmp_path / "tensorboard"),
        ("loss", 1.0, 3),
        ("alpha/audio", 1.0, 3),
        ("alpha/video", 2.0, 3),
        "closed",
    ]


def test_missing_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"^tensorboard=True needs .*: pip install torch tensorboard$"):
        RunLogger(tmp_path, modalities=NAMES, tensorboard=True)
    RunLogger(tmp_path / "quiet", modalities=NAMES, tensorboard=False).close()


def test_what_is_checked_is_what_is_kept(tmp_path):
    @dataclass
    class Settings:
        method: str = "MIDAS"
        seed: int = 3

    class Arguments:
        def to_dict(self):
            return {"method": "MIDAS", "seed": np.int64(3)}

    configs = [Settings(), Namespace(method="MIDAS", seed=3), Arguments(), {"method": "MIDAS", "seed": np.int64(3)}]
    for i, config in enumerate(configs):
        with RunLogger(tmp_path / str(i), modalities=NAMES, config=config) as log:
            log.log(epoch=np.int64(1), step=np.int32(7), loss=np.float32(0.5))
        run = read_run(tmp_path / str(i))
        assert run.config == {"method": "MIDAS", "seed": 3}
        assert run.metrics == ({"epoch": 1, "step": 7, "loss": 0.5},)
    nested = RunLogger(tmp_path / "nested", modalities=NAMES, config={"optimizer": Settings()})
    assert read_run(nested.folder).config == {"optimizer": {"method": "MIDAS", "seed": 3}}
    nested.close()
    for config in ("MIDAS", 5, Settings):
        with pytest.raises(TypeError, match=r"^config: expected a dict, a dataclass, a Namespace"):
            RunLogger(tmp_path / "bad", modalities=NAMES, config=config)


def test_a_finished_run_without_a_line_says_so(tmp_path):
    log = RunLogger(tmp_path, modalities=NAMES)
    assert read_run(tmp_path).problems == ()
    log.close()
    assert read_run(tmp_path).problems == (
        "the run finished without a line of metrics: nothing was logged to metrics.jsonl",
    )
