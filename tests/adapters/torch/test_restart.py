"""A torchrun job that dies in mid-training and starts again from its checkpoint goes on as if it had not."""

import os
import subprocess
import sys

import torch


def run_job(folder, ending):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "-m", "tests.adapters.torch.restart_worker", str(folder), ending],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def results(folder):
    done = run_job(folder, "lives")
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"result{rank}.pt", weights_only=True) for rank in range(2)]


def test_a_job_that_died_goes_on_bit_for_bit(tmp_path):
    from tests.adapters.torch.restart_worker import SAVES_AT

    whole = results(tmp_path / "whole")
    assert run_job(tmp_path / "broken", "dies").returncode != 0
    assert not list((tmp_path / "broken").glob("result*")), "it was to die before its end"
    broken = results(tmp_path / "broken")
    assert whole[0]["start"] == 0
    assert broken[0]["start"] == broken[1]["start"] == SAVES_AT, "it did not load its checkpoint"
    assert (whole[0]["alphas"] > 1).any(), "alpha never moved: the test shows nothing"
    for rank in range(2):
        assert torch.equal(broken[rank]["alphas"], whole[rank]["alphas"][SAVES_AT:])
        assert torch.equal(whole[rank]["alphas"], whole[0]["alphas"]), "one alpha for all ranks"
        extra = "criterion._extra_state"
        for name, expected in whole[rank]["model"].items():
            found = broken[rank]["model"][name]
            if name != extra:
                assert torch.equal(found, expected), name
        assert broken[rank]["model"].keys() == whole[rank]["model"].keys()
