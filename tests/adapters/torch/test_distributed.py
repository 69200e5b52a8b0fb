"""Ranks of a distributed run hold one alpha, that of one process which is given all the pairs."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.torch import distributed as adapter
from midas_core.adapters.torch.distributed import sum_over_ranks


def launch(folder, ranks, *arguments, worker="distributed_worker"):
    arguments = [sys.executable, "-m", f"tests.adapters.torch.{worker}", str(folder), *arguments, str(ranks)]
    workers = [subprocess.Popen([*arguments, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(ranks)]
    errors = [worker.communicate(timeout=180)[1] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), errors
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize(("ranks", "variant"), [(2, "official"), (3, "paper")])
def test_ranks_hold_one_alpha(tmp_path, ranks, variant):
    from tests.adapters.torch.distributed_worker import STEPS, make_parts, shard

    found = launch(tmp_path, ranks, variant)
    for other in found[1:]:
        assert torch.equal(found[0]["alphas"], other["alphas"]), "bit for bit between the ranks"
        for name, value in found[0]["parameters"].items():
            assert torch.equal(value, other["parameters"][name]), name

    # One process: the pairs of each rank, one behind the other. Features come from the parameters that the ranks had.
    criterion, parts = MidasLoss(num_classes=4, feature_dims=(6, 5), variant=variant, seed=0).double(), make_parts()
    for step in range(STEPS):
        features, labels, permutation = [[], []], [], []
        before = found[0]["before"][step]
        parts.load_state_dict({k: v for k, v in before.items() if not k.startswith("criterion")})
        criterion.unimodal_heads.load_state_dict(
            {k.removeprefix("criterion.unimodal_heads."): v for k, v in before.items() if "unimodal_heads" in k}
        )
        for rank in range(ranks):
            views, y, pi = shard(step, rank)
            for m, view in enumerate(views):
                features[m].append(parts.encoders[m](view))
            permutation.append(pi + sum(len(x) for x in labels))
            labels.append(y)
        criterion(
            [torch.cat(f) for f in features], torch.cat(labels), head=parts.head, permutation=torch.cat(permutation)
        )
        torch.testing.assert_close(criterion.alpha, found[0]["alphas"][step], rtol=0, atol=1e-12)
    assert (found[0]["alphas"] > 1).any(), "alpha never moved: the test shows nothing"


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory):
    """Run what `wrapped_worker` does on two ranks."""
    return launch(tmp_path_factory.mktemp("wrapped"), 2, worker="wrapped_worker")


def test_a_warning_where_the_heads_drift_apart(wrapped):
    one, other = (found["beside"] for found in wrapped)
    assert (one["heads"] - other["heads"]).abs().max() > 1e-3, "nothing to warn of"
    for found in (one, other):
        (said,) = found["warnings"]
        assert "the unimodal heads differ between ranks" in said


def test_a_criterion_inside_the_wrapper_is_the_same_on_all_ranks(wrapped):
    one, other = wrapped
    torch.testing.assert_close(one["inside"]["heads"], other["inside"]["heads"], rtol=0, atol=0)
    assert torch.equal(one["alone"]["alpha"], other["alone"]["alpha"])
    for found in wrapped:
        assert found["inside"]["warnings"] == []
        # Uneven inputs come to an end, and a rank that validates alone waits for nobody.
        assert (found["uneven"]["step"], found["alone"]["step"]) == (5, 4)


@pytest.mark.parametrize("way", ["FSDP2", "FSDP2, resharded", "FSDP2, criterion by itself"])
def test_a_sharded_criterion_does_what_one_in_ddp_does(wrapped, way):
    for found in wrapped:
        losses, alpha = found["sharded"][way]
        expected, expected_alpha = found["sharded"]["DDP"]
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(alpha, expected_alpha)


def test_terms_and_diagnosis_of_sharded_heads_say_what_to_do(wrapped):
    for found in (each["sharded"] for each in wrapped):
        assert "unimodal_heads: expected whole parameters, got parts of them" in found["error"]
        assert "register_fsdp_forward_method(criterion, 'terms')" in found["error"]
        assert "head: expected whole parameters, got parts of them" in found["diagnosis"]


def test_the_last_sums_outlive_the_step_that_asked_for_them(monkeypatch):
    # A thread of the process group that let go of them last would wait for the interpreter.
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x: x.mul_(2))
    for made in (np.ones(3), torch.ones(3)):
        sums = sum_over_ranks(made)
        assert sums.tolist() == [2, 2, 2]
        address = torch.as_tensor(made).data_ptr()
        del made, sums
        assert [x.data_ptr() for x in adapter._last] == [address]
