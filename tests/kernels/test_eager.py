"""What the kernels have in common, in PyTorch's calls and in compiled loops."""

from __future__ import annotations

from unittest import mock

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close

import midas_core as mc
from midas_core.adapters.torch import MidasLoss
from midas_core.cross_entropy import Targets
from midas_core.kernels import eager, ways
from midas_core.kernels.plan import Plan
from midas_core.kernels.step import logits_step
from midas_core.pairing import make_pairs
from midas_core.weighting import MidasState
from tests.kernels.problems import check_equal, make_problem

OPTIONS = {"eta": 0.05, "variant": "paper", "alpha_update": "sign", "max_alpha": None, "reduce": None}


@pytest.fixture(params=["eager", "small"])
def kernel(request):
    """Each of the two modules that hold the same functions."""
    if request.param == "eager":
        return eager
    pytest.importorskip("numba")
    return ways.small_kernel()


def test_a_pair_that_does_not_count_may_have_any_logits(kernel):
    # Samples 0 and 1 are of one class. Of their mixture the head says nothing finite.
    torch.manual_seed(0)
    labels, order = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 0, 3, 2])
    pairs = make_pairs(labels, mc.source_matrix(order, 2))
    own, aligned, mixed = torch.randn(2, 4, 3), torch.randn(4, 3), torch.randn(2, 4, 3)
    mixed[:, :2] = torch.tensor([-torch.inf, 1.0, 0.0])
    state = MidasState(torch.ones(2, dtype=torch.float64), torch.tensor(0))
    plan = Plan(Targets(labels), pairs, state, OPTIONS, None, 2.0, True)
    losses, _ = logits_step(plan, list(own), [aligned, mixed], [], kernel)
    expected = mc.midas_objective(aligned, list(own), mixed, labels, pairs, None, state, weight=2.0).terms
    assert losses.misaligned.isfinite()
    assert_close(losses.misaligned, expected.misaligned.mean())
    assert_close(losses.total, expected.total.mean())


def test_features_that_are_missing_may_have_any_logits(kernel):
    # A head may divide by the length of a feature, which is zero where the modality is missing.
    torch.manual_seed(0)
    labels, order = torch.tensor([0, 1, 0, 1]), torch.tensor([1, 2, 3, 0])
    pairs = make_pairs(labels, mc.source_matrix(order, 2))
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    own, aligned, mixed = torch.randn(2, 4, 3), torch.randn(4, 3), torch.randn(2, 4, 3)
    own[1, 1] = own[0, 2] = torch.nan
    whole = torch.stack([present[s[0], 0] & present[s[1], 1] for s in pairs.sources.unbind(1)])
    mixed[~whole] = torch.nan
    given = [x.requires_grad_() for x in (*own.unbind(), aligned, mixed)]
    state = MidasState(torch.ones(2, dtype=torch.float64), torch.tensor(0))
    plan = Plan(Targets(labels), pairs, state, OPTIONS, None, 1.0, True, present)
    losses, _ = logits_step(plan, given[:2], given[2:], [], kernel)
    expected = mc.midas_objective(aligned, given[:2], mixed, labels, pairs, None, state, present=present).terms
    assert_close(losses.total, expected.total.mean())
    found, right = (torch.autograd.grad(x, given) for x in (losses.total, expected.total.mean()))
    for one, other in zip(found, right, strict=True):
        assert one.isfinite().all()
        assert_close(one, other)


@pytest.mark.parametrize("rows", [1, 2, 5, 1000])
def test_the_softmax_may_be_taken_in_blocks(rows):
    with mock.patch.object(ways, "SMALL", 0), mock.patch.object(eager, "BLOCK", rows * 4):
        p = make_problem(batch=6, classes=4, label_smoothing=0.1)
        check_equal(p, p.linear)


@pytest.mark.parametrize("widths", [(3, 4), (2, 3, 4)])
@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_no_gradient_flows_through_similarities(widths, kind):
    p = make_problem(widths=widths)
    sources = mc.source_matrix(torch.tensor([1, 2, 3, 4, 5, 0]), len(widths))
    found = eager.similarity([x.requires_grad_() for x in p.features], sources, kind)
    assert not found.requires_grad


@pytest.mark.parametrize(("cap", "expected"), [(None, 1.7), (1.5, 1.5), (1.3, 1.3)])
def test_alpha_grows_up_to_its_cap(kernel, cap, expected):
    criterion = MidasLoss(num_classes=2, feature_dims=[2, 2], seed=0, eta=0.5, initial_alpha=1.2, max_alpha=cap)
    head = nn.Linear(4, 2)
    with torch.no_grad():
        # The unimodal heads are equally sure; the fused one looks at the first modality alone.
        for x in criterion.parameters():
            x.zero_()
        criterion.unimodal_heads[0].weight.copy_(torch.tensor([[1.1, -1.1], [-1.1, 1.1]]))
        criterion.unimodal_heads[1].weight.copy_(torch.eye(2) - torch.eye(2).flip(0))
        head.weight.copy_(torch.tensor([[5.0, -5.0, 0.0, 0.0], [-5.0, 5.0, 0.0, 0.0]]))
    labels = torch.tensor([0, 1, 0, 1])
    features = nn.functional.one_hot(labels, 2).float()
    with mock.patch.object(ways, "SMALL", ways.SMALL if kernel is not eager else 0):
        criterion([features, features], labels, head=head)
    assert criterion.alpha.tolist() == pytest.approx([1.0, expected])
