"""The PyTorch criterion: heads, structures, labels. The property "criterion" holds every option to the oracle."""

import math

import pytest
import torch
from torch import nn

import midas_core as mc
from midas_core.adapters.torch import MidasLoss, MidasTerms

WIDTHS = (3, 5, 4)
CLASSES = 4


def batch(modalities=2, size=9, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    features = [torch.randn(size, d, generator=generator, dtype=dtype) for d in WIDTHS[:modalities]]
    return features, torch.randint(CLASSES, (size,), generator=generator)


def make(modalities=2, seed=0, **options):
    torch.manual_seed(seed)
    return MidasLoss(num_classes=CLASSES, feature_dims=WIDTHS[:modalities], seed=seed, **options).double()


class Declared(nn.Module):
    """A linear head of one's own that says so."""

    additive = True

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, width))
        self.bias = None

    def forward(self, x):
        return x @ self.weight.T


class Doubled(nn.Linear):
    """A subclass of nn.Linear that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def heads(width):
    """Return heads of every kind that the criterion tells apart."""
    torch.manual_seed(1)
    linear = nn.Linear(width, CLASSES).double()
    hooked = nn.Linear(width, CLASSES).double()
    hooked.register_forward_hook(lambda module, inputs, output: 3 * output)
    tied = nn.utils.parametrizations.weight_norm(nn.Linear(width, CLASSES).double())
    deep = nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, CLASSES)).double()
    return {
        "linear": linear,
        "linear without bias": nn.Linear(width, CLASSES, bias=False).double(),
        "linear in a sequence": nn.Sequential(linear),
        "declared additive": Declared(width).double(),
        "subclass": Doubled(width, CLASSES).double(),
        "with a hook": hooked,
        "with a parametrization": tied,
        "two layers": deep,
        "with an activation": nn.Sequential(linear, nn.ReLU()),
        "function": lambda x: deep(x).square(),
    }


CLASS_WEIGHTS = (0.5, 1.0, 2.0, 4.0)


def describe(options):
    return " ".join(f"{name}={value}" for name, value in options.items()) or "default"


def real_batch(modalities, options, per_call, seed=0):
    """Return features (NaN where they are missing), labels, and what is given with them."""
    features, labels = batch(modalities, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    if options.get("multi_label"):
        labels = torch.randint(2, (len(labels), CLASSES), generator=generator)
    more = {}
    if "sample_weight" in per_call:
        more["sample_weight"] = 2 * torch.rand(len(labels), generator=generator)
    if "present" in per_call:
        more["present"] = torch.rand((len(labels), modalities), generator=generator) < 0.7
        for m, f in enumerate(features):
            f[~more["present"][:, m]] = math.nan
    return features, labels, more


@pytest.mark.parametrize("kind", heads(8))
def test_every_kind_of_head(kind):
    head = heads(8)[kind]
    criterion = make()
    features, labels = batch()
    features = [f.requires_grad_() for f in features]
    terms = criterion.terms(features, labels, head=head, generator=torch.Generator().manual_seed(5))
    # The same head behind a function takes the plain way, sample by sample through autograd.
    parameters = [p for p in head.parameters()] if isinstance(head, nn.Module) else []
    leaves = [*features, *criterion.parameters(), *parameters]
    slopes = torch.autograd.grad(terms.total, leaves)
    other = make()
    generator = torch.Generator().manual_seed(5)
    plain_terms = other.terms(features, labels, head=lambda x: head(x), generator=generator)
    torch.testing.assert_close(tuple(terms), tuple(plain_terms))
    leaves = [*features, *other.parameters(), *parameters]
    for a, b in zip(slopes, torch.autograd.grad(plain_terms.total, leaves), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:the unimodal heads, which the criterion made, stay at their first values")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("frozen", ["head", "features", "unimodal heads"])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(frozen, reduction):
    results = []
    for freeze in (True, False):
        criterion, head = make(reduction=reduction), heads(8)["linear"]
        features, labels = batch()
        parts = {"head": list(head.parameters()), "features": features, "unimodal heads": list(criterion.parameters())}
        for name, tensors in parts.items():
            for x in tensors:
                x.requires_grad_(not (freeze and name == frozen))
        criterion(features, labels, head=head, generator=torch.Generator().manual_seed(0)).backward()
        results.append({name: [x.grad for x in tensors] for name, tensors in parts.items()})
    for name, gradients in results[0].items():
        if name == frozen:
            assert gradients == [None] * len(gradients)
        else:
            torch.testing.assert_close(gradients, results[1][name])


def test_the_terms_add_up():
    features, labels = batch()
    terms = make(weight=3.0).terms(features, labels, head=heads(8)["linear"])
    assert isinstance(terms, MidasTerms)
    torch.testing.assert_close(terms.total, terms.aligned + terms.unimodal.sum() + 3 * terms.misaligned)
    assert [x.shape for x in terms[:4]] == [(), (), (2,), ()]
    assert [x.shape for x in terms[4:]] == [(2,)] * 3
    assert not any(x.requires_grad for x in terms[4:])
    torch.testing.assert_close(terms.confidence.sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("head_input", ["concatenated", "separate"])
def test_list_tuple_and_dict_in_any_order_are_the_same(head_input):
    features, labels = batch()
    names, linear, seen = ["audio", "video"], heads(8)["linear"], []

    def head(x):
        if head_input == "concatenated":
            return linear(x)
        seen.append(type(x))
        return linear(torch.cat([x[k] for k in (names if isinstance(x, dict) else (0, 1))], dim=1))

    named = dict(zip(names, features, strict=True))
    losses = []
    # Concatenated as the criterion was told, not as the batch came.
    for given in (features, tuple(features), named, dict(reversed(named.items()))):
        dims = dict(zip(names, WIDTHS, strict=False)) if isinstance(given, dict) else WIDTHS[:2]
        torch.manual_seed(0)
        criterion = MidasLoss(num_classes=CLASSES, feature_dims=dims, seed=0, head_input=head_input).double()
        losses.append(criterion(given, labels, head=head).detach())
    torch.testing.assert_close(losses[1:], losses[:1] * 3)
    assert head_input == "concatenated" or set(seen) == {list, tuple, dict}


@pytest.mark.parametrize("options", [{}, {"class_weights": CLASS_WEIGHTS}], ids=describe)
def test_labels_may_be_one_hot_or_of_another_integer_dtype(options):
    features, labels = batch()
    rows = nn.functional.one_hot(labels, CLASSES)
    forms = (labels, rows, rows.bool(), labels.int(), labels.to(torch.uint8))
    losses = [make(**options)(features, y, head=heads(8)["linear"]).detach() for y in forms]
    torch.testing.assert_close(losses[1:], losses[:1] * 4)


def test_heads_of_ones_own():
    features, labels = batch()
    own = {"a": nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, CLASSES)), "b": nn.Linear(5, CLASSES)}
    for given in (own, nn.ModuleDict(own)):
        criterion = MidasLoss(num_classes=CLASSES, unimodal_heads=given, seed=0).double()
        assert set(criterion.parameters()) == {p for head in own.values() for p in head.parameters()}
        criterion({"a": features[0], "b": features[1]}, labels, head=heads(8)["linear"]).backward()
        assert all(p.grad is not None for p in criterion.parameters())
    criterion = MidasLoss(num_classes=CLASSES, unimodal_heads=nn.ModuleList(own.values())).double()
    assert criterion(features, labels, head=heads(8)["linear"]).ndim == 0


def test_lazy_heads():
    features, labels = batch()
    own = [nn.LazyLinear(CLASSES, dtype=torch.float64) for _ in features]
    criterion, head = MidasLoss(num_classes=CLASSES, unimodal_heads=own), nn.LazyLinear(CLASSES, dtype=torch.float64)
    for _ in range(2):
        criterion(features, labels, head=head).backward()
    assert [x.in_features for x in (*own, head)] == [*WIDTHS[:2], sum(WIDTHS[:2])]


def test_generator_and_seed_fix_the_draw():
    features, labels = batch()
    head = heads(8)["linear"]

    def loss(criterion, generator=None):
        return criterion(features, labels, head=head, generator=generator).item()

    assert loss(make(), torch.Generator().manual_seed(4)) == loss(make(), torch.Generator().manual_seed(4))
    assert loss(make()) == loss(make())
    unseeded = []
    for _ in range(2):
        torch.manual_seed(7)
        unseeded.append(loss(MidasLoss(num_classes=CLASSES, feature_dims=WIDTHS[:2]).double()))
    assert unseeded[0] == unseeded[1]
    assert len({loss(make(), torch.Generator().manual_seed(k)) for k in range(8)}) > 1


def test_the_criterion_leaves_the_global_stream_alone():
    features, labels = batch()
    criterion, head = make(), heads(8)["linear"]
    before = torch.get_rng_state()
    criterion(features, labels, head=head)
    assert torch.equal(before, torch.get_rng_state())


def test_batch_norm_sees_the_aligned_batch_alone():
    # Statistics of mixed samples in those of the aligned ones would change the aligned logits. One partner serves all:
    # if each sample served once, mean and variance of every feature would stay what they are.
    torch.manual_seed(0)
    head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, CLASSES)).double()
    features, labels = batch()
    partner = torch.where(labels == labels[0], (labels != labels[0]).int().argmax(), 0)
    criterion = make()
    terms = criterion.terms(features, labels, head=head, permutation=partner)
    alone = nn.functional.cross_entropy(head(torch.cat(features, dim=1)), labels)
    torch.testing.assert_close(terms.aligned, alone)
    # And the mixed ones, both versions together, see their own.
    sources = mc.source_matrix(partner, 2)
    flat = [x.flatten(0, 1) for x in mc.mix(features, sources)]
    state = mc.MidasState(torch.ones(2).double(), torch.tensor(0))
    expected, _, _ = mc.midas_objective(
        head(torch.cat(features, dim=1)),
        [h(f) for h, f in zip(criterion.unimodal_heads, features, strict=True)],
        head(torch.cat(flat, dim=1)).unflatten(0, (2, -1)),
        labels,
        sources,
        mc.similarity(features, sources),
        state,
    )
    torch.testing.assert_close(terms.misaligned, expected.misaligned.mean())


EMPTY = [
    *({}, {"variant": "official"}, {"warmup_epochs": 1}, {"aligned_from": 0}, {"multi_label": True}, {"check": True}),
    *({"absent_share": 0.5, "reduction": "sum"}, {"similarity": "l2", "reduction": "none"}),
]


@pytest.mark.parametrize("kind", ["linear", "two layers", "function"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("options", EMPTY, ids=describe)
def test_a_batch_that_is_empty_after_filtering_costs_nothing(options, modalities, kind):
    if modalities == 3 and options.get("variant") == "official":
        pytest.skip("two modalities only")
    features, labels = batch(modalities, size=0)
    criterion, head = make(modalities, **options), heads(sum(WIDTHS[:modalities]))[kind]
    criterion.set_epoch(0)
    labels = torch.zeros(0, CLASSES) if criterion.multi_label else labels
    terms = criterion.terms([f.requires_grad_() for f in features], labels, head=head)
    assert terms.total.sum() == 0
    assert terms.total.numel() == (criterion.reduction != "none")
    terms.total.sum().backward()
    assert not any(p.grad.any() for p in criterion.parameters())
    assert criterion.step == 0
