"""A step by hand beside the same step by the core."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.torch import step as adapter
from midas_core.kernels import ways
from midas_core.kernels.ways import Way

LINEAR, LOGITS = (Way.LINEAR, Way.LINEAR_NUMBA), (Way.LOGITS, Way.LOGITS_NUMBA)
TOLERANCE = {torch.float64: {"rtol": 1e-10, "atol": 1e-12}, torch.float32: {"rtol": 1e-4, "atol": 2e-6}}
TERMS = ("total", "aligned", "unimodal", "misaligned")


@pytest.fixture(scope="module", params=["small", "large", "without numba"], autouse=True)
def size(request):
    """Every test goes all ways: that of small batches, that of large ones, and that where Numba is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large":
            patch.setattr(ways, "SMALL", 0)
        if request.param == "without numba":
            # One by one: a patch of the whole dictionary would forget what Numba imports meanwhile.
            for name in ("numba", "midas_core.kernels.numba", "midas_core.kernels.small"):
                patch.setitem(sys.modules, name, None)
        ways.small_kernel.cache_clear()
        assert (ways.small_kernel() is None) == (request.param == "without numba")
        yield request.param
    ways.small_kernel.cache_clear()


def by_the_core():
    """Have every step take the way of the core."""
    return mock.patch.object(adapter, "choose_way", return_value=Way.CORE)


class Additive(nn.Module):
    """A head of one's own that declares itself additive."""

    additive = True

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


HEADS = {
    "linear": lambda linear: (linear, LINEAR),
    "sequential": lambda linear: (nn.Sequential(linear), LINEAR),
    "declared": lambda linear: (Additive(linear), LINEAR),
    "two layers": lambda linear: (nn.Sequential(nn.Tanh(), linear), LOGITS),
    "a function": lambda linear: (lambda x: linear(x).tanh(), LOGITS),
}


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


def run(p, criterion, head, *, needs_grad=True, **given):
    """Return the terms, and the gradient of each of them in features, head and unimodal heads."""
    features = [x.clone().requires_grad_(needs_grad) for x in p.features]
    terms = criterion.terms(features, p.labels, head=head, **given)
    leaves = [*(head.parameters() if isinstance(head, nn.Module) else p.linear.parameters()), *criterion.parameters()]
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


def check_equal(p, head, *, way=LINEAR, **given):
    """Compare a step by hand, which has to take one of the ways, with the core."""
    fused, general = p.criteria
    found, found_slopes = run(p, fused, head, **given)
    assert fused._way in way
    with by_the_core():
        expected, expected_slopes = run(p, general, head, **given)
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
    """Draw two criteria beside each other with any options, and what a step is given beside features and labels."""
    modalities = draw(st.sampled_from((2, 3, 4)))
    official = modalities == 2 and draw(st.booleans())
    batch, classes = draw(st.integers(1, 9)), draw(st.integers(2, 5))
    p = make_problem(
        seed=draw(st.integers(0, 2**31 - 1)),
        batch=batch,
        widths=draw(st.lists(st.integers(1, 5), min_size=modalities, max_size=modalities)),
        classes=classes,
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
        label_smoothing=draw(st.sampled_from((0.0, 0.0, 0.1, 1.0))),
        class_weights=draw(st.sampled_from((None, None, [0.0, 1.0, 2.0, 0.5, 3.0][:classes]))),
    )
    given = {}
    if draw(st.booleans()):
        given["sample_weight"] = torch.rand(batch, dtype=draw(st.sampled_from((torch.float32, torch.float64))))
    if not official and draw(st.booleans()):
        given["present"] = torch.rand(batch, modalities) < 0.7
    return p, given
