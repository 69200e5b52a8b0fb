"""The fused step of an additive head gives what the general path gives: terms, state and gradients."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close

import midas_core as mc
from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.torch import loss as adapter
from midas_core.backends import load_backend
from midas_core.kernels import host
from midas_core.kernels import torch as kernel
from midas_core.misalignment import random_count, split_draw

TOLERANCE = {torch.float64: {"rtol": 1e-10, "atol": 1e-12}, torch.float32: {"rtol": 1e-4, "atol": 2e-6}}
TERMS = ("total", "aligned", "unimodal", "misaligned")


@pytest.fixture(scope="module", params=["small", "large", "without numba"], autouse=True)
def way(request):
    """Every test goes all ways: that of small batches, that of large ones, and that where Numba is not installed."""
    missing = {"numba": None, "midas_core.kernels.loops": None} if request.param == "without numba" else {}
    with (
        mock.patch.object(kernel, "SMALL", 0 if request.param == "large" else kernel.SMALL),
        mock.patch.dict(sys.modules, missing),
    ):
        host.loops.cache_clear()
        assert (host.loops() is None) == (request.param == "without numba")
        yield request.param
    host.loops.cache_clear()


class Additive(nn.Module):
    """A head of one's own that declares itself additive."""

    additive = True

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


HEADS = {"linear": lambda linear: linear, "sequential": nn.Sequential, "declared": Additive}


def make_problem(
    seed=0, batch=6, widths=(3, 4), classes=4, *, dtype=torch.float64, bias=True, one_class=False, scale=1.0, **options
):
    """Two criteria in the same state, a linear head, features and labels."""
    torch.manual_seed(seed)
    linear = nn.Linear(sum(widths), classes, bias=bias, dtype=dtype)
    criteria = []
    for _ in range(2):
        criterion = MidasLoss(num_classes=classes, feature_dims=widths, seed=seed, **options).to(dtype)
        criteria.append(criterion)
    criteria[1].load_state_dict(criteria[0].state_dict())
    features = [scale * torch.randn(batch, width, dtype=dtype) for width in widths]
    labels = torch.zeros(batch, dtype=torch.int64) if one_class else torch.randint(classes, (batch,))
    return SimpleNamespace(linear=linear, criteria=criteria, features=features, labels=labels, dtype=dtype)


def run(p, criterion, head, *, permutation=None, needs_grad=True):
    """Return the terms, and the gradient of each of them in features, head and unimodal heads."""
    features = [x.clone().requires_grad_(needs_grad) for x in p.features]
    terms = criterion.terms(features, p.labels, head=head, permutation=permutation)
    leaves = [*p.linear.parameters(), *criterion.parameters()]
    leaves = [*(features if needs_grad else ()), *(x for x in leaves if x.requires_grad)]
    weights = torch.linspace(0.5, 2.0, len(features), dtype=p.dtype)
    scalars = {name: getattr(terms, name) for name in TERMS}
    scalars["unimodal"] = (weights * scalars["unimodal"]).sum()
    scalars["a combination"] = scalars["aligned"] + 3 * scalars["unimodal"] - 2 * scalars["misaligned"]
    slopes = {
        name: torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        for name, x in scalars.items()
    }
    return terms, slopes


def check_equal(p, head, *, fuses=True, **options):
    """Compare a head that may be fused with the general path, which a plain function takes."""
    fused, general = p.criteria
    with mock.patch.object(adapter, "fused_step", wraps=adapter.fused_step) as spy:
        found, found_slopes = run(p, fused, head, **options)
        assert spy.called == fuses
        spy.reset_mock()
        expected, expected_slopes = run(p, general, lambda x: p.linear(x), **options)
        assert not spy.called
    tolerance = TOLERANCE[p.dtype]
    for name in expected._fields:
        assert_close(getattr(found, name), getattr(expected, name), **tolerance, msg=lambda m, n=name: f"{n}: {m}")
    # softmax - onehot is exact to a few eps of one, however small it is itself. Features and their number scale that,
    # and the combination of the terms by up to 6.
    size = 1 + len(p.labels) * max(float(x.detach().abs().max()) for x in p.features)
    tolerance = {**tolerance, "atol": max(tolerance["atol"], 6 * 8 * torch.finfo(p.dtype).eps * size)}
    for name, slopes in expected_slopes.items():
        for k, (one, other) in enumerate(zip(found_slopes[name], slopes, strict=True)):
            assert_close(one, other, **tolerance, msg=lambda m, n=name, k=k: f"gradient {k} of {n}: {m}")
    assert_close(fused.alpha, general.alpha)
    assert_close(fused.step, general.step)


@st.composite
def problems(draw):
    modalities = draw(st.sampled_from((2, 3)))
    official = modalities == 2 and draw(st.booleans())
    return make_problem(
        seed=draw(st.integers(0, 2**31 - 1)),
        batch=draw(st.integers(1, 9)),
        widths=draw(st.lists(st.integers(1, 5), min_size=modalities, max_size=modalities)),
        classes=draw(st.integers(2, 5)),
        dtype=draw(st.sampled_from((torch.float64, torch.float64, torch.float32))),
        bias=draw(st.booleans()),
        one_class=draw(st.sampled_from((False, False, False, True))),
        # Features of zero with balanced labels: both mean confidences are 1 / C, and rounding picks the weak modality
        # of the authors' code.
        scale=draw(st.sampled_from((1.0, 5.0) if official else (0.0, 1.0, 5.0))),
        variant="official" if official else "paper",
        reduction=draw(st.sampled_from(("mean", "sum"))),
        similarity=draw(st.sampled_from(("cosine", "l2", None))),
        alpha_update=draw(st.sampled_from(("sign", "difference"))),
        weight=draw(st.sampled_from((0.0, 1.0, 5.0))),
        initial_alpha=draw(st.sampled_from((1.0, 1.5))),
        max_alpha=draw(st.sampled_from((None, 1.6))),
        eta=draw(st.sampled_from((0.05, 0.5))),
    )


@settings(max_examples=150)
@given(problems(), st.sampled_from(sorted(HEADS)))
def test_equals_the_general_path(p, kind):
    check_equal(p, HEADS[kind](p.linear))


@settings(max_examples=30)
@given(problems())
def test_the_loops_give_the_same_uncompiled(p):
    with ExitStack() as stack:
        for name, loop in vars(host.loops() or SimpleNamespace()).items():
            if hasattr(loop, "py_func"):
                stack.enter_context(mock.patch.object(host.loops(), name, loop.py_func))
        check_equal(p, p.linear)


def negated(found):
    return tuple(map(negated, found)) if isinstance(found, tuple) else -found


@pytest.mark.parametrize("name", ["lowered_", "normalized_", "weighed", "losses_of", "errors_"])
def test_a_broken_loop_is_noticed(name, way):
    if way != "small":
        pytest.skip("the loops serve small batches")
    p, loop = make_problem(), getattr(host.loops(), name)
    with mock.patch.object(host.loops(), name, lambda *given: negated(loop(*given))), pytest.raises(AssertionError):
        check_equal(p, p.linear)


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


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from((2, 3)))
def test_the_pairs_are_those_of_the_core(seed, batch, classes, modalities):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=batch)
    numbers = rng.random(random_count(batch, modalities), dtype=np.float32)
    backend = load_backend("numpy")
    options = {"num_classes": classes, "num_modalities": modalities, "variant": "paper", "backend": backend}
    found = host.pairs(labels, numbers, None, **options)
    expected = mc.draw_pairs(split_draw(numbers, labels, modalities, backend=backend), labels, modalities)
    for own, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, same)


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


@pytest.mark.parametrize(
    ("make", "fuses"),
    [
        (lambda width: nn.Linear(width, 4, bias=False), True),
        (lambda width: nn.Sequential(nn.Linear(width, 4)), True),
        (lambda width: Additive(nn.Linear(width, 4)), True),
        (lambda width: nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 4)), False),
    ],
    ids=["no bias", "sequential", "declared", "two layers"],
)
def test_unimodal_heads_of_the_user(make, fuses):
    p = make_problem(widths=(3, 2))
    heads = [make(3), make(2)]
    p.criteria = [MidasLoss(num_classes=4, unimodal_heads=heads, seed=0).double() for _ in range(2)]
    check_equal(p, p.linear, fuses=fuses)


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


def test_backward_twice_through_a_kept_graph():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    first = torch.autograd.grad(loss, features, retain_graph=True)
    second = torch.autograd.grad(loss, features)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_what_happens_to_a_gradient_leaves_a_kept_graph_alone():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    loss.backward(retain_graph=True)
    expected = [x.grad.clone() for x in features]
    for x in features:
        x.grad *= 7
    loss.backward(retain_graph=True)
    for x, slope in zip(features, expected, strict=True):
        assert_close(x.grad, 8 * slope)
    first = torch.autograd.grad(loss, features, retain_graph=True)
    for x in torch.autograd.grad(loss, features):
        x.zero_()
    for one, slope in zip(first, expected, strict=True):
        assert torch.equal(one, slope)


def test_a_multiple_of_the_loss():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    expected = torch.autograd.grad(loss, features, retain_graph=True)
    for one, slope in zip(torch.autograd.grad(-3 * loss, features), expected, strict=True):
        assert_close(one, -3 * slope)


def test_a_second_derivative_is_refused():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)

    def penalty():
        (slope,) = torch.autograd.grad(loss, features[:1], create_graph=True)
        (loss + slope.square().sum()).backward()

    # Without an error the penalty's part of the gradient would be missing.
    with pytest.raises(RuntimeError, match="differentia"):
        penalty()


def test_gradients_by_finite_differences():
    p = make_problem(batch=5, classes=3)
    criterion = p.criteria[0].eval()

    def constant(terms):
        # Without the pairs nothing in the loss is held constant.
        return terms.aligned + terms.unimodal.sum()

    def loss(*features):
        return constant(criterion.terms(list(features), p.labels, head=p.linear))

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in p.features])


def forward_hook(module, calls):
    module.register_forward_hook(lambda *_: calls.append("forward"))


def pre_hook(module, calls):
    module.register_forward_pre_hook(lambda *_: calls.append("pre"))


def backward_hook(module, calls):
    module.register_full_backward_hook(lambda *_: calls.append("backward"))


def backward_pre_hook(module, calls):
    module.register_full_backward_pre_hook(lambda *_: calls.append("backward pre"))


def replaced_forward(module, calls):
    forward = module.forward
    module.forward = lambda x: (calls.append("replaced"), forward(x))[1]


@pytest.mark.parametrize(
    "hook",
    [
        replaced_forward,
        forward_hook,
        pre_hook,
        backward_hook,
        backward_pre_hook,
    ],
)
@pytest.mark.parametrize("place", ["linear", "sequential", "inside"])
def test_a_head_with_a_hook_takes_the_general_path_and_the_hook_is_called(hook, place):
    p = make_problem()
    head = p.linear if place == "linear" else nn.Sequential(p.linear)
    calls = []
    hook(p.linear if place != "sequential" else head, calls)
    features = [x.requires_grad_() for x in p.features]
    with mock.patch.object(adapter, "fused_step") as spy:
        p.criteria[0](features, p.labels, head=head).backward()
    assert not spy.called
    assert calls


def test_a_unimodal_head_with_a_hook_takes_the_general_path_and_the_hook_is_called():
    p = make_problem()
    calls = []
    forward_hook(p.criteria[0].unimodal_heads[1], calls)
    check_equal(p, p.linear, fuses=False)
    assert calls == ["forward"]


class Halved(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Halved(7, 4),
        lambda: nn.Sequential(nn.Linear(7, 4), nn.ReLU()),
        lambda: nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 4)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(7, 4)),
        lambda: nn.Sequential(nn.BatchNorm1d(7), nn.Linear(7, 4)),
    ],
    ids=["subclass", "more than one layer", "two layers", "parametrized", "batch normalisation"],
)
def test_any_other_head_takes_the_general_path(make):
    p = make_problem()
    head = make().double()
    with mock.patch.object(adapter, "fused_step") as spy:
        p.criteria[0](p.features, p.labels, head=head).backward()
    assert not spy.called
    assert all(x.grad is not None for x in head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_takes_the_general_path(dtype):
    p = make_problem()
    for x in (p.linear, p.criteria[0]):
        x.to(dtype)
    with mock.patch.object(adapter, "fused_step") as spy:
        loss = p.criteria[0]([x.to(dtype) for x in p.features], p.labels, head=p.linear)
    assert not spy.called
    assert torch.isfinite(loss)


def test_autocast_takes_the_general_path():
    p = make_problem(dtype=torch.float32)
    with mock.patch.object(adapter, "fused_step") as spy, torch.autocast("cpu", dtype=torch.bfloat16):
        loss = p.criteria[0](p.features, p.labels, head=p.linear)
    assert not spy.called
    assert torch.isfinite(loss)


def test_extreme_logits_stay_finite():
    p = make_problem()
    p.features = [1e4 * x for x in p.features]
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(x.grad).all() for x in features)
