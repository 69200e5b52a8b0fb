"""What every run folder has to hold, whoever wrote it: the same metrics, diagnoses and sections of the report."""

import re
from dataclasses import fields

import numpy as np

from midas_core.data.digits import halves
from midas_core.diagnostics import Diagnosis, ModalityScores
from midas_core.report import render_report
from midas_core.runs import metric_names, read_run

MODALITIES = ("left", "right")
FOLLOWED = ("accuracy", "macro_f1", "misaligned_accuracy", "calibration_error")
FOLLOWED_EACH = ("confidence", "fused_confidence", "accuracy_alone", "shapley")
VALIDATION_LOSSES = ("val_loss", "val_aligned_loss")
VALIDATION = {*FOLLOWED, *(f"{key}_{name}" for key in FOLLOWED_EACH for name in MODALITIES)}
NOT_STORED = {"sample_shapley", "sample_indices"}
SECTIONS = [
    "Answer",
    "What reaches the decision",
    "Aligned and misaligned samples",
    "Whom the model follows",
    "Accuracy over training",
    "Confidence over training",
    "Alpha over training",
    "Similarity of exchanged features",
    "Calibration",
    "Numbers",
    "Runs",
]


def digits():
    """Return the halves of 200 digits for training and of 200 for validation: views by name, labels."""
    task = halves(0, training=200)
    splits = (task.training, task.validation)
    return [
        ({name: np.array(x[:200]) for name, x in zip(task.modalities, split.inputs, strict=True)}, split.labels[:200])
        for split in splits
    ]


def assert_complete(folder, epochs, *, own=(), samples=200, losses=()):
    """Check a finished run folder; ``own`` are metrics that only this framework writes, ``losses`` of validation."""
    run = read_run(folder)
    assert run.modalities == MODALITIES
    assert run.config["method"] == "MIDAS"
    assert run.config["weight"] == 2.0
    assert run.finished is not None
    assert run.problems == ()
    assert {key for row in run.metrics for key in row} - set(own) == {
        *losses,
        "epoch",
        "step",
        *metric_names(MODALITIES),
        *(f"val_{key}" for key in VALIDATION),
    }
    for name in ("loss", "alpha_left", "val_misaligned_accuracy", *losses):
        positions, values = run.series(name)
        assert positions == list(range(epochs)), name
        assert np.isfinite(values).all()
    found = run.diagnostics["validation"]
    assert set(found) == {each.name for each in fields(Diagnosis)} - NOT_STORED
    assert [set(each) for each in found["modalities"]] == [{each.name for each in fields(ModalityScores)}] * 2
    assert None not in [each["probe_accuracy"] for each in found["modalities"]]
    assert None not in [each["unimodal_accuracy"] for each in found["modalities"]]
    assert found["samples"] == samples
    assert found["accuracy"] > 0.5
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", render_report([folder])) == SECTIONS
    return run
