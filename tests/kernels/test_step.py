"""The steps by hand give what the core gives: terms, state and gradients."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from midas_core.adapters.torch import MidasLoss
from midas_core.kernels.step import _linear_gradients
from tests.kernels.problems import (
    HEADS,
    LINEAR,
    LOGITS,
    TERMS,
    TOLERANCE,
    Additive,
    by_the_core,
    check_equal,
    make_problem,
    problems,
    size,
)

__all__ = ["size"]


@settings(max_examples=150)
@given(problems(), st.sampled_from(sorted(HEADS)))
def test_equals_the_core(problem, kind):
    p, given = problem
    head, way = HEADS[kind](p.linear)
    check_equal(p, head, way=way, **given)


@pytest.mark.parametrize("widths", [(3, 4), (2, 3, 4), (2, 1, 3, 2)])
def test_equals_the_mean_of_what_is_not_reduced(widths):
    p = make_problem(widths=widths, batch=8)
    features = [x.requires_grad_() for x in p.features]
    found = p.criteria[0].terms(features, p.labels, head=p.linear)
    p.criteria[1].reduction = "none"
    expected = p.criteria[1].terms(features, p.labels, head=p.linear)
    for name in TERMS:
        assert_close(getattr(found, name), getattr(expected, name).mean(dim=-1), **TOLERANCE[p.dtype])
    slopes = [torch.autograd.grad(x.total.mean(), [*features, p.linear.weight]) for x in (found, expected)]
    for one, other in zip(*slopes, strict=True):
        assert_close(one, other, **TOLERANCE[p.dtype])


def test_several_steps_move_the_state_alike():
    p = make_problem(batch=12, scale=3.0)
    for _ in range(5):
        check_equal(p, p.linear)
    assert p.criteria[0].step == 5


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_given_permutation_with_fixed_points_and_pairs_of_one_class(variant):
    p = make_problem(batch=4, variant=variant)
    p.labels = torch.tensor([0, 0, 1, 2])
    check_equal(p, p.linear, permutation=torch.tensor([1, 0, 3, 2]))
    check_equal(p, p.linear, permutation=torch.tensor([0, 1, 3, 2]))


@pytest.mark.parametrize("widths", [(3, 4), (2, 3, 4)])
def test_a_given_choice_of_partners_that_is_no_permutation(widths):
    p = make_problem(widths=widths)
    check_equal(p, p.linear, permutation=torch.tensor([1, 1, 0, 0, 0, 4]))


def test_features_that_need_no_gradient():
    p = make_problem()
    check_equal(p, p.linear, needs_grad=False)


def test_a_frozen_head_gets_no_gradient():
    p = make_problem()
    p.linear.requires_grad_(False)
    check_equal(p, p.linear)
    p.linear.bias.requires_grad_(True)
    check_equal(p, p.linear)


def test_frozen_unimodal_heads_get_no_gradient():
    p = make_problem()
    for criterion in p.criteria:
        criterion.unimodal_heads.requires_grad_(False)
    check_equal(p, p.linear)


def test_only_the_gradients_that_are_asked_for_are_computed():
    p = make_problem()
    heads = [p.linear, *p.criteria[0].unimodal_heads]
    tensors = [*(x.detach() for head in heads for x in (head.weight, head.bias)), *p.features]
    rows, sums = torch.ones(2, 6, 4, dtype=p.dtype), torch.ones(3, 4, dtype=p.dtype)
    for asked in range(len(tensors)):
        wanted = [k == asked for k in range(len(tensors))]
        assert [x is not None for x in _linear_gradients(rows, rows, sums, tensors, wanted)] == wanted


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (lambda width: nn.Linear(width, 4, bias=False), LINEAR),
        (lambda width: nn.Sequential(nn.Linear(width, 4)), LINEAR),
        (lambda width: Additive(nn.Linear(width, 4)), LINEAR),
        (lambda width: nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 4)), LOGITS),
    ],
    ids=["no bias", "sequential", "declared", "two layers"],
)
def test_unimodal_heads_of_the_user(make, way):
    p = make_problem(widths=(3, 2))
    heads = [make(3), make(2)]
    p.criteria = [MidasLoss(num_classes=4, unimodal_heads=heads, seed=0).double() for _ in range(2)]
    check_equal(p, p.linear, way=way)


def test_eval_mode_draws_the_same_pairs_and_moves_nothing():
    p = make_problem(batch=12)
    for criterion in p.criteria:
        criterion.eval()
    check_equal(p, p.linear)
    check_equal(p, p.linear)
    assert p.criteria[0].step == 0


def test_inputs_stay_as_they_are():
    p = make_problem()
    features = [x.clone().requires_grad_() for x in p.features]
    before = [x.detach().clone() for x in (*features, *p.linear.parameters(), *p.criteria[0].parameters())]
    p.criteria[0](features, p.labels, head=p.linear).backward()
    after = (*features, *p.linear.parameters(), *p.criteria[0].parameters())
    for one, other in zip(after, before, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_what_happens_to_a_gradient_leaves_a_kept_graph_alone(kind):
    p = make_problem()
    head, _ = HEADS[kind](p.linear)
    features = [x.requires_grad_() for x in p.features]
    leaves = [*features, *head.parameters(), *p.criteria[0].parameters()]
    loss = p.criteria[0](features, p.labels, head=head)
    expected = [x.clone() for x in torch.autograd.grad(loss, leaves, retain_graph=True)]
    # A hook is handed the gradient itself, not a copy.
    hooks = [x.register_hook(lambda slope: slope.mul_(7)) for x in leaves]
    loss.backward(retain_graph=True)
    nn.utils.clip_grad_norm_(leaves, 1e-3)
    for x in hooks:
        x.remove()
    for x in leaves:
        x.grad = None
    loss.backward(retain_graph=True)
    loss.backward()
    for x, slope in zip(leaves, expected, strict=True):
        assert_close(x.grad, 2 * slope)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_a_recomputation_in_the_backward_pass_is_refused(kind, reentrant):
    p = make_problem()
    head, _ = HEADS[kind](p.linear)
    features = [x.requires_grad_() for x in p.features]

    def block(*x):
        return p.criteria[0](list(x), p.labels, head=head)

    loss = checkpoint(block, *features, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match=r"MidasLoss: .*checkpoint.*other pairs"):
        loss.backward()
    # In evaluation every call draws the same pairs, and nothing moves.
    p.criteria[0].eval()
    found = torch.autograd.grad(checkpoint(block, *features, use_reentrant=False), features)
    expected = torch.autograd.grad(block(*features), features)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_a_weight_that_changed_before_the_backward_pass_is_refused():
    p = make_problem()
    loss = p.criteria[0](p.features, p.labels, head=p.linear)
    with torch.no_grad():
        p.linear.weight.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_the_loss_may_be_divided_in_place():
    p = make_problem()
    terms = p.criteria[0].terms(p.features, p.labels, head=p.linear)
    expected = terms.total.item() / 4, terms.aligned.item()
    loss = terms.total
    loss /= 4
    loss.backward()
    assert (loss.item(), terms.aligned.item()) == pytest.approx(expected)


def test_a_multiple_of_the_loss():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    expected = torch.autograd.grad(loss, features, retain_graph=True)
    for one, slope in zip(torch.autograd.grad(-3 * loss, features), expected, strict=True):
        assert_close(one, -3 * slope)


def penalty(p, head):
    """Return the gradient of a penalty on the gradient, in the features and the head."""
    features = [x.detach().requires_grad_() for x in p.features]
    loss = p.criteria[0].eval()(features, p.labels, head=head)
    (slope,) = torch.autograd.grad(2 * loss, features[:1], create_graph=True)
    return torch.autograd.grad(loss + slope.square().sum(), [*features, p.linear.weight])


def test_a_second_derivative_is_refused_where_all_is_linear():
    p = make_problem()
    # Without an error the penalty's part of the gradient would be missing.
    with pytest.raises(RuntimeError, match="differentia"):
        penalty(p, p.linear)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "variant": "official"}])
def test_a_second_derivative_for_any_other_head(options):
    p = make_problem(**options)

    def head(x):
        return p.linear(x)

    found = penalty(p, head)
    assert p.criteria[0]._way in LOGITS
    with by_the_core():
        expected = penalty(p, head)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_gradients_by_finite_differences():
    p = make_problem(batch=5, classes=3)
    criterion = p.criteria[0].eval()

    def constant(terms):
        # Without the pairs nothing in the loss is held constant.
        return terms.aligned + terms.unimodal.sum()

    def loss(*features):
        return constant(criterion.terms(list(features), p.labels, head=p.linear))

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in p.features])


@pytest.mark.parametrize("widths", [(3, 4), (2, 3, 4)])
def test_a_norm_that_overflows_is_no_similarity_of_zero(widths):
    p = make_problem(widths=widths, dtype=torch.float32)
    p.features[1][:, 0] = 1e20
    terms = p.criteria[0].terms(p.features, p.labels, head=p.linear)
    assert terms.misaligned.isnan()
    assert terms.aligned.isfinite()


def test_extreme_logits_stay_finite():
    p = make_problem()
    p.features = [1e4 * x for x in p.features]
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(x.grad).all() for x in features)
