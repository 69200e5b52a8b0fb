"""Ranks of a distributed run hold one alpha, that of one process which is given all the pairs."""

import subprocess
import sys

import pytest
import torch

from midas_core.adapters.torch import MidasLoss


def launch(folder, ranks, variant):
    arguments = [sys.executable, "-m", "tests.adapters.torch.distributed_worker", str(folder), variant, str(ranks)]
    workers = [subprocess.Popen([*arguments, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(ranks)]
    errors = [worker.communicate(timeout=180)[1] for worker in workers]
    assert all(worker.returncode == 0 for worker in workers), errors
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)]


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("ranks", [2, 3])
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
