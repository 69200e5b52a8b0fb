"""A step from partial products gives what the heads give one by one, and takes part in what people do to gradients."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from midas_core.adapters.torch import MidasLoss

TERMS = ("total", "aligned", "unimodal", "misaligned")
TOLERANCE = {torch.float64: {"rtol": 1e-10, "atol": 1e-12}, torch.float32: {"rtol": 1e-4, "atol": 2e-6}}


class Additive(nn.Module):
    """A head of one's own that declares itself additive."""

    additive = True

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x):
        raise AssertionError("partial products serve")


class Opaque(nn.Module):
    """A head of which nothing can be known."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, x):
        return self.head(x)


HEADS = {
    "linear": lambda linear: linear,
    "sequential": lambda linear: nn.Sequential(linear),
    "declared": Additive,
    "two layers": lambda linear: nn.Sequential(nn.Tanh(), linear),
    "MLP": lambda linear: nn.Sequential(_square(linear), nn.Tanh(), linear),
    "MLP, batch normalisation": lambda linear: nn.Sequential(_square(linear), _normalisation(linear), linear),
}


def _normalisation(linear):
    return nn.BatchNorm1d(linear.in_features, dtype=linear.weight.dtype)


def _square(linear):
    torch.manual_seed(0)
    return nn.Linear(linear.in_features, linear.in_features, dtype=linear.weight.dtype)


def make_problem(
    seed=0, batch=6, widths=(3, 4), classes=4, *, dtype=torch.float64, bias=True, one_class=False, scale=1.0, **options
):
    """Two criteria in the same state, a linear head, features and labels."""
    torch.manual_seed(seed)
    linear = nn.Linear(sum(widths), classes, bias=bias, dtype=dtype)
    criteria = [MidasLoss(num_classes=classes, feature_dims=widths, seed=seed, **options).to(dtype) for _ in range(2)]
    criteria[1].load_state_dict(criteria[0].state_dict())
    features = [scale * torch.randn(batch, width, dtype=dtype) for width in widths]
    labels = torch.zeros(batch, dtype=torch.int64) if one_class else torch.randint(classes, (batch,))
    return SimpleNamespace(linear=linear, criteria=criteria, features=features, labels=labels, dtype=dtype)


def run(p, criterion, head, *, needs_grad=True, **given):
    """Return the terms, and the gradient of each of them in features, head and unimodal heads."""
    features = [x.clone().requires_grad_(needs_grad) for x in p.features]
    terms = criterion.terms(features, p.labels, head=head, **given)
    parameters = head.parameters() if isinstance(head, nn.Module) else p.linear.parameters()
    leaves = [*parameters, *criterion.parameters(), *features]
    leaves = [x for x in leaves if x.requires_grad]
    weights = torch.linspace(0.5, 2.0, len(features), dtype=p.dtype)
    scalars = {name: getattr(terms, name).sum() for name in TERMS}
    scalars["unimodal"] = (weights * terms.unimodal.reshape(len(features), -1).mT).sum()
    scalars["a combination"] = scalars["aligned"] + 3 * scalars["unimodal"] - 2 * scalars["misaligned"]
    slopes = {
        name: torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        for name, x in scalars.items()
    }
    return terms, slopes


def check_equal(p, kind="linear", **given):
    """Compare a step with one of the same head as a function, of which nothing can be known."""
    head = HEADS[kind](p.linear)
    terms, slopes = run(p, p.criteria[0], head, **given)
    opaque = p.linear if kind == "declared" else head
    expected_terms, expected_slopes = run(p, p.criteria[1], Opaque(opaque), **given)
    tolerance = TOLERANCE[p.dtype]
    for name in expected_terms._fields:
        assert_close(
            getattr(terms, name), getattr(expected_terms, name), **tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    # softmax - onehot is exact to a few eps of one, however small it is itself. Features and their number scale that,
    # and the combination of the terms by up to 6.
    size = 1 + len(p.labels) * max(float(x.detach().abs().max()) for x in p.features)
    tolerance = {**tolerance, "atol": max(tolerance["atol"], 6 * 8 * torch.finfo(p.dtype).eps * size)}
    for name, expected in expected_slopes.items():
        for k, (one, other) in enumerate(zip(slopes[name], expected, strict=True)):
            assert_close(one, other, **tolerance, msg=lambda m, n=name, k=k: f"gradient {k} of {n}: {m}")
    assert_close(p.criteria[0].alpha, p.criteria[1].alpha)
    assert_close(p.criteria[0].step, p.criteria[1].step)


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
        reduction=draw(st.sampled_from(("mean", "sum", "none"))),
        similarity=draw(st.sampled_from(("cosine", "l2", None))),
        weight=draw(st.sampled_from((0.0, 1.0, 5.0))),
        initial_alpha=draw(st.sampled_from((1.0, 1.5))),
        max_alpha=draw(st.sampled_from((None, 1.6))),
        label_smoothing=draw(st.sampled_from((0.0, 0.0, 0.1, 1.0))),
        class_weights=draw(st.sampled_from((None, None, [0.0, 1.0, 2.0, 0.5, 3.0][:classes]))),
        absent_share=0.0 if official else draw(st.sampled_from((0.0, 0.4))),
    )
    given = {}
    if draw(st.booleans()):
        given["sample_weight"] = torch.rand(batch, dtype=draw(st.sampled_from((torch.float32, torch.float64))))
    if not official and draw(st.booleans()):
        given["present"] = torch.rand(batch, modalities) < 0.7
    if draw(st.booleans()):
        # With fixed points and partners of the same class; some lend to several.
        given["permutation"] = torch.randint(batch, (batch,))
    return p, given


@settings(max_examples=150)
@given(problems(), st.sampled_from(sorted(HEADS)))
def test_equals_the_heads_one_by_one(problem, kind):
    p, given = problem
    # Without a variance, normalisation multiplies every rounding by hundreds.
    assume("normalisation" not in kind or (len(p.labels) > 1 and p.features[0].any()))
    check_equal(p, kind, **given)


def test_inputs_stay_as_they_are():
    p = make_problem()
    inputs = [*[x.clone().requires_grad_() for x in p.features], *p.linear.parameters(), *p.criteria[0].parameters()]
    before = [x.detach().clone() for x in inputs]
    p.criteria[0](inputs[:2], p.labels, head=p.linear).backward()
    assert all(map(torch.equal, inputs, before))


@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_changes_to_a_gradient_leave_a_kept_graph_alone(kind):
    p = make_problem()
    head = HEADS[kind](p.linear)
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
    head = HEADS[kind](p.linear)
    features = [x.requires_grad_() for x in p.features]

    def block(*x):
        return p.criteria[0](list(x), p.labels, head=head)

    loss = checkpoint(block, *features, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match=r"MidasLoss: .*checkpoint.*other pairs"):
        loss.backward()
    # In evaluation every call draws the same pairs, and nothing moves.
    p.criteria[0].eval()
    gradients = torch.autograd.grad(checkpoint(block, *features, use_reentrant=False), features)
    assert_close(gradients, torch.autograd.grad(block(*features), features))


def test_a_weight_that_changed_before_the_backward_pass_is_refused():
    p = make_problem()
    features = [x.requires_grad_() for x in p.features]
    loss = p.criteria[0](features, p.labels, head=p.linear)
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
