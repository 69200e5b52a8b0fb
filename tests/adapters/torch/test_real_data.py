"""The PyTorch criterion on real data: weights, label smoothing, several labels, missing modalities."""

from __future__ import annotations

import copy
import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import midas_core as mc  # noqa: E402
from midas_core.adapters.torch import MidasLoss, Misalign  # noqa: E402
from midas_core.testing import oracle  # noqa: E402
from tests.adapters.torch.reference import assert_terms, expected_step  # noqa: E402
from tests.adapters.torch.test_loss import CLASSES, WIDTHS, batch, describe, heads, make  # noqa: E402

CLASS_WEIGHTS = (0.5, 1.0, 2.0, 4.0)
OPTIONS = [
    {},
    {"label_smoothing": 0.2, "reduction": "sum"},
    {"class_weights": CLASS_WEIGHTS, "reduction": "none"},
    {"multi_label": True, "class_weights": torch.tensor(CLASS_WEIGHTS), "label_smoothing": 0.1},
    {"multi_label": True, "warmup_epochs": 2},
    {"absent_share": 0.5, "class_weights": CLASS_WEIGHTS, "initial_alpha": 1.6},
]
PER_CALL = [(), ("sample_weight",), ("present",), ("sample_weight", "present")]


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


@pytest.mark.parametrize("kind", ["linear", "two layers"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("per_call", PER_CALL, ids=lambda x: "+".join(x) or "nothing")
@pytest.mark.parametrize("options", OPTIONS, ids=describe)
def test_every_option_follows_the_oracle_over_several_steps(options, per_call, modalities, kind):
    criterion = make(modalities, **options)
    criterion.set_epoch(0)
    head = heads(sum(WIDTHS[:modalities]))[kind]
    for seed in range(3):
        features, labels, more = real_batch(modalities, options, per_call, seed)
        expected = expected_step(criterion, features, labels, lambda x: head(torch.cat(x, dim=1)), seed, **more)
        terms = criterion.terms(features, labels, head=head, generator=torch.Generator().manual_seed(seed), **more)
        assert_terms(terms, expected, criterion.reduction)
        assert criterion.alpha.tolist() == pytest.approx(expected.next_alpha, abs=1e-12)
        assert criterion.step == expected.next_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_missing_spreads_nowhere(dtype):
    features, labels, more = real_batch(2, {}, ("present",))
    criterion, head = make().to(dtype), nn.Linear(8, CLASSES, dtype=dtype)
    features = [f.to(dtype).requires_grad_() for f in features]
    criterion(features, labels, head=head, **more).backward()
    for m, f in enumerate(features):
        assert (f.grad[~more["present"][:, m]] == 0).all()
        assert (f.grad[more["present"][:, m]] != 0).all()
    for x in (*criterion.parameters(), *head.parameters()):
        assert x.grad.isfinite().all()
    assert criterion.step == 1


def test_present_comes_as_a_tensor_or_as_the_features_do():
    dims = {"audio": 3, "video": 5}
    features, labels, more = real_batch(2, {}, ("present",))
    head = heads(8)["linear"]
    losses = []
    for form in (more["present"], {"video": more["present"][:, 1], "audio": more["present"][:, 0]}):
        torch.manual_seed(0)
        criterion = MidasLoss(num_classes=CLASSES, feature_dims=dims, seed=0).double()
        losses.append(criterion(dict(zip(dims, features, strict=True)), labels, head=head, present=form))
    assert losses[0] == losses[1]
    assert losses[0] == make()(features, labels, head=head, present=list(more["present"].unbind(1)))


def test_all_there_and_all_alike_is_the_plain_loss():
    features, labels = batch()
    plain, head = make(), heads(8)["linear"]
    criterion = make(class_weights=[1] * CLASSES)
    more = {"sample_weight": torch.ones(9), "present": torch.ones(9, 2, dtype=torch.bool)}
    torch.testing.assert_close(criterion(features, labels, head=head, **more), plain(features, labels, head=head))
    torch.testing.assert_close(criterion.alpha, plain.alpha)


def test_one_hot_rows_stay_one_label():
    features, labels = batch()
    rows, head = nn.functional.one_hot(labels, CLASSES), heads(8)["linear"]
    weighted = {"class_weights": CLASS_WEIGHTS}
    assert make(**weighted)(features, rows, head=head) == make(**weighted)(features, labels, head=head)


def test_the_checkpoint_does_not_hold_the_options():
    plain, criterion = make(), make(class_weights=CLASS_WEIGHTS, label_smoothing=0.1)
    assert plain.state_dict().keys() == criterion.state_dict().keys()
    criterion.load_state_dict(plain.state_dict())
    assert criterion.class_weights.tolist() == list(CLASS_WEIGHTS)
    # As alpha, they keep their digits.
    assert make(class_weights=[0.1] * CLASSES).half().class_weights.tolist() == [0.1] * CLASSES


@pytest.mark.parametrize(("options", "modalities"), [(OPTIONS[3], 3), ({"class_weights": CLASS_WEIGHTS}, 2)])
def test_torch_compile(compiler, options, modalities):
    eager, head = make(modalities, **options), heads(sum(WIDTHS[:modalities]))["linear"]
    same = copy.deepcopy(eager)
    compiled = compiler(same, fullgraph=True, backend="aot_eager")
    for seed in range(2):
        features, labels, more = real_batch(modalities, options, ("sample_weight", "present"), seed)
        permutation = torch.roll(torch.arange(len(labels)), 1)
        results = []
        for criterion in (eager, compiled):
            given = [f.clone().requires_grad_() for f in features]
            loss = criterion(given, labels, head=head, permutation=permutation, **more)
            loss.backward()
            results.append([loss.detach(), *(f.grad for f in given)])
        torch.testing.assert_close(results[1], results[0])
        torch.testing.assert_close(same.alpha, eager.alpha)


DIMS = {"audio": 3, "video": 5}
F0, F1, LABELS = torch.zeros(4, 3), torch.zeros(4, 5), torch.tensor([0, 1, 2, 0])
HERE = torch.ones(4, dtype=torch.bool)
BAD_OPTIONS = [
    ({"label_smoothing": -0.1}, ValueError, r"label_smoothing: expected a number in \[0, 1\], got -0\.1"),
    ({"label_smoothing": None}, TypeError, r"label_smoothing: expected a number in \[0, 1\], got None"),
    ({"class_weights": [1.0, 2.0]}, ValueError, "class_weights: expected 3 numbers, one for each class, got 2"),
    ({"class_weights": [1.0, -2.0, 1.0]}, ValueError, r"class_weights\[1\]: expected a finite number >= 0, got -2\.0"),
    ({"class_weights": {0: 1.0}}, TypeError, "class_weights: expected a sequence of numbers, .* got dict"),
    ({"multi_label": "yes"}, TypeError, "multi_label: expected True or False, got 'yes'"),
]
BAD_CALLS = [
    ({"sample_weight": [1.0] * 4}, TypeError, "sample_weight: expected a tensor, got list"),
    ({"sample_weight": torch.ones(3)}, ValueError, r"sample_weight: expected shape \(B,\) = \(4,\), got \(3,\)"),
    ({"present": HERE}, ValueError, r"present: expected shape \(B, M\) = \(4, 2\), got \(4,\)"),
    ({"present": torch.ones(4, 2)}, TypeError, "present: expected dtype bool, got torch.float32"),
    (
        {"present": {"audio": HERE}},
        ValueError,
        r"present: .*'video'\], got \['audio'\]",
    ),
    ({"present": {"audio": HERE, "video": HERE[:3]}}, ValueError, "present of modality 'video': expected shape"),
    (
        {"present": {"audio": HERE, "video": True}},
        TypeError,
        "present of modality 'video': .* tensor, got bool",
    ),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD_OPTIONS, ids=[str(e[0]) for e in BAD_OPTIONS])
def test_bad_options(change, kind, message):
    with pytest.raises(kind, match=message):
        MidasLoss(**({"num_classes": 3, "feature_dims": DIMS} | change))


@pytest.mark.parametrize(("more", "kind", "message"), BAD_CALLS, ids=[e[2][:50] for e in BAD_CALLS])
def test_bad_calls(more, kind, message):
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS)
    with pytest.raises(kind, match=message):
        criterion({"audio": F0, "video": F1}, LABELS, head=nn.Linear(8, 3), **more)


def test_several_labels_come_in_rows():
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, multi_label=True)
    with pytest.raises(ValueError, match=r"labels: expected shape \(B, C\) = \(\?, 3\), got \(4,\)"):
        criterion({"audio": F0, "video": F1}, LABELS, head=nn.Linear(8, 3))


def test_the_authors_code_knows_no_missing_modality():
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, variant="official")
    with pytest.raises(ValueError, match="present: expected None with variant 'official'"):
        criterion({"audio": F0, "video": F1}, LABELS, head=nn.Linear(8, 3), present=torch.stack([HERE, HERE], 1))


def test_raw_inputs_of_any_dtype_for_a_model_that_fuses_early():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.EmbeddingBag(7, 4), nn.Linear(9, CLASSES)

        def forward(self, inputs):
            return self.out(torch.cat([self.words(inputs["text"]), inputs["audio"]], dim=1))

    torch.manual_seed(0)
    heads = {"text": nn.EmbeddingBag(7, CLASSES), "audio": nn.Linear(5, CLASSES)}
    options = {"num_classes": CLASSES, "unimodal_heads": heads, "head_input": "separate"}
    inputs, labels = {"text": torch.randint(7, (9, 6)), "audio": torch.randn(9, 5)}, torch.arange(9) % CLASSES
    model, criterion = Model(), MidasLoss(similarity=None, **options)
    criterion(inputs, labels, head=model, present=torch.rand(9, 2) < 0.7).backward()
    assert all(x.grad.isfinite().all() for x in (*model.parameters(), *criterion.parameters()))
    with pytest.raises(TypeError, match="features of modality 'text': expected a real floating dtype"):
        MidasLoss(**options)(inputs, labels, head=model)


@pytest.mark.parametrize("multi_label", [False, True], ids=["one label", "several"])
def test_the_augmentation_alone(multi_label):
    features, labels, more = real_batch(2, {"multi_label": multi_label}, ("present",))
    present, permutation = more["present"], torch.roll(torch.arange(9), 1)
    sources = mc.source_matrix(permutation, 2)
    logits = [torch.randn(9, CLASSES, dtype=torch.float64) for _ in range(2)]
    for m, z in enumerate(logits):
        z[~present[:, m]] = math.nan
    layer = Misalign(num_classes=CLASSES, multi_label=multi_label)
    mixed, soft, weights = layer(features, labels, unimodal_logits=logits, present=present, permutation=permutation)
    for v, i in itertools.product(range(2), range(9)):
        row, (a, b) = 9 * v + i, sources[:, v, i].tolist()
        for m, j in enumerate((a, b)):
            expected = features[m][j] if present[j, m] else torch.zeros(WIDTHS[m], dtype=torch.float64)
            torch.testing.assert_close(mixed[m][row], expected)
        counts = bool(present[a, 0] and present[b, 1]) and not torch.equal(labels[a], labels[b])
        assert (weights[row] > 0) == counts
        if counts:
            given = zip(logits, (a, b), strict=True)
            own = oracle.normalise([-oracle.cross_entropy(z[j].tolist(), labels[j].tolist()) for z, j in given])
            first, second = (oracle.smoothed_target(labels[j].tolist(), CLASSES, 0.0) for j in (a, b))
            expected = [own[0] * x + own[1] * y for x, y in zip(first, second, strict=True)]
            assert soft[row].tolist() == pytest.approx(expected)
    assert soft.isfinite().all()
    same, rows, ones = layer.eval()(features, labels, present=present)
    assert all(x.isfinite().all() for x in same)
    assert (ones == 1).all()
    if multi_label:
        torch.testing.assert_close(rows, labels.double())
