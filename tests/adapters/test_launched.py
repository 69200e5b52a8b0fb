"""Two processes that torchrun starts: Accelerate, the Trainer and Lightning wrap the module with the criterion."""

import subprocess
import sys

import pytest
import torch

from midas_core.runs import read_run

pytest.importorskip("accelerate")
pytest.importorskip("lightning")


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Train once in each way; return the folder and what each rank ended with."""
    folder = tmp_path_factory.mktemp("launched")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*start, "-m", "tests.adapters.launched_worker", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr[-4000:]
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("way", ["accelerate", "trainer", "lightning"])
def test_ranks_end_with_the_same_heads_and_alpha(launched, way):
    one, other = (found[way] for found in launched[1])
    assert one["step"] > 0
    assert one["step"] == other["step"]
    assert torch.equal(one["heads"], other["heads"])
    assert torch.equal(one["alpha"], other["alpha"])
    assert max(ended["alpha"].max() for ended in launched[1][0].values()) > 1, "alpha never moved: it shows nothing"


@pytest.mark.parametrize("way", ["trainer", "lightning"])
def test_one_process_writes_the_run(launched, way):
    run = read_run(launched[0] / way)
    assert run.finished is not None
    assert run.series("loss")[0] == [0, 1, 2, 3]
    assert run.diagnostics["validation"]["accuracy"] > 0.3
