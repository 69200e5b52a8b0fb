"""The examples run, and a plain loop becomes a MIDAS loop by a handful of lines."""

import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments):
    command = [sys.executable, "-W", "error", EXAMPLES / name, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_at_most_six_lines_change():
    before, after = ((EXAMPLES / name).read_text().splitlines() for name in ("plain_loop.py", "midas_loop.py"))
    changes = [line for line in difflib.ndiff(before, after) if line.startswith("+ ") and line[2:].strip()]
    assert 0 < len(changes) <= 6, changes


@pytest.mark.parametrize("name", ["plain_loop.py", "midas_loop.py"])
def test_loop_learns(name):
    accuracy = float(re.search(r"test accuracy ([\d.]+) %", run(name)).group(1))
    assert accuracy > 90


def test_numpy_training_lowers_the_loss():
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", run("numpy_training.py"))]
    assert losses[-1] < 0.6 * losses[0]


def test_missing_modalities_learns():
    found = re.findall(r"all samples: ([\d.]+) % with both halves", run("missing_modalities.py", "12"))
    assert len(found) == 2
    assert min(map(float, found)) > 70


def test_early_fusion_learns():
    # Few epochs: enough to see that both ways train. docs/early-fusion.md has those of a whole run.
    found = re.findall(r"test accuracy ([\d.]+) %, both classes of", run("early_fusion.py", "5"))
    assert len(found) == 2
    assert min(map(float, found)) > 40
