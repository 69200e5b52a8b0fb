"""The examples run, and a plain loop becomes a MIDAS loop by a handful of lines."""

import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.run_folders import assert_complete

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments, folder=None):
    command = [sys.executable, "-W", "error", EXAMPLES / name, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_at_most_seven_lines_change():
    before, after = (
        (EXAMPLES / name).read_text().split('"""')[2].splitlines() for name in ("plain_loop.py", "midas_loop.py")
    )
    changes = [line for line in difflib.ndiff(before, after) if line.startswith("+ ") and line[2:].strip()]
    assert 0 < len(changes) <= 7, changes


def test_midas_ends_well_above_joint_training():
    before, after = (
        float(re.search(r"test accuracy ([\d.]+) %", run(name))[1]) for name in ("plain_loop.py", "midas_loop.py")
    )
    assert before > 65
    assert after > before + 3


def test_jax_training_ends_well_above_joint_training():
    pytest.importorskip("flax")
    before, after = map(float, re.findall(r"test accuracy ([\d.]+) %", run("jax_training.py")))
    assert before > 65
    assert after > before + 3


def test_numpy_training_lowers_the_loss():
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", run("numpy_training.py"))]
    assert losses[-1] < 0.6 * losses[0]


def test_missing_modalities_learns():
    found = re.findall(r"all samples: ([\d.]+) % with both halves", run("missing_modalities.py", "12"))
    assert len(found) == 2
    assert min(map(float, found)) > 70


def test_early_fusion_learns():
    # Few epochs: enough to see that both ways train. docs/fusion.md shows a whole run.
    found = re.findall(r"test accuracy ([\d.]+) %, both classes of", run("early_fusion.py", "5"))
    assert len(found) == 2
    assert min(map(float, found)) > 40


def test_a_plain_loop_leaves_a_run_folder(tmp_path):
    run("run_folder.py", folder=tmp_path)
    assert_complete(tmp_path / "runs" / "plain", epochs=10, samples=1197)
    assert (tmp_path / "runs" / "report.html").exists()
