"""The augmentation layer alone."""

from collections import namedtuple

import numpy as np
import pytest
import torch

import midas_core as mc
from midas_core.adapters.torch import Misalign, Misaligned
from tests.adapters.torch.test_loss import real_batch

CLASSES = 3
Pair = namedtuple("Pair", ["audio", "video"])


def batch(modalities=2, size=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(size, 3 + m, generator=generator, dtype=dtype) for m in range(modalities)]
    return features, torch.arange(size) % CLASSES


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", ["cosine", "l2", None])
def test_it_gives_what_the_core_gives(modalities, kind, variant):
    features, labels = batch(modalities)
    logits = [torch.randn(8, CLASSES, dtype=torch.float64) for _ in range(modalities)]
    layer = Misalign(num_classes=CLASSES, similarity=kind, variant=variant)
    numbers = mc.draw(labels, modalities, torch.Generator().manual_seed(1))
    sources = mc.pairing.draw_sources(numbers, labels, modalities, variant=variant)
    options = {"similarity": kind, "variant": variant}
    expected = mc.misalign(features, labels, sources, CLASSES, unimodal_logits=logits, **options)
    found = layer(features, labels, unimodal_logits=logits, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tuple(found), tuple(expected))


@pytest.mark.parametrize("multi_label", [False, True], ids=["one label", "several"])
def test_what_is_missing_may_hold_anything(multi_label):
    features, labels, more = real_batch(2, {"multi_label": multi_label}, ("present",))
    present, permutation = more["present"], torch.roll(torch.arange(9), 1)
    logits = [torch.randn(9, 4, dtype=torch.float64) for _ in range(2)]
    known = [[x.masked_fill(~present[:, [m]], 0) for m, x in enumerate(xs)] for xs in (features, logits)]
    for m, z in enumerate(logits):
        z[~present[:, m]] = torch.nan
    layer = Misalign(num_classes=4, multi_label=multi_label)
    found = layer(features, labels, unimodal_logits=logits, present=present, permutation=permutation)
    sources = mc.source_matrix(permutation, 2)
    expected = mc.misalign(known[0], labels, sources, 4, unimodal_logits=known[1], present=present)
    torch.testing.assert_close(tuple(found), tuple(expected))
    assert found.weights.any()
    same, rows, ones = layer.eval()(features, labels, present=present)
    assert all(x.isfinite().all() for x in same)
    assert (ones == 1).all()
    if multi_label:
        torch.testing.assert_close(rows, labels.double())


def test_identity_in_evaluation():
    features, labels = batch()
    layer = Misalign(num_classes=CLASSES, seed=0).eval()
    given = {"audio": features[0], "video": features[1]}
    before = layer.state_dict()["_extra_state"]
    mixed, soft_labels, weights = layer(given, labels)
    assert mixed is given
    assert torch.equal(soft_labels, torch.nn.functional.one_hot(labels, CLASSES).double())
    assert (weights == 1).all()
    assert torch.equal(layer.state_dict()["_extra_state"], before)
    elsewhere = layer([x.to("meta") for x in features], labels.to("meta"))
    assert {elsewhere.soft_labels.device.type, elsewhere.weights.device.type} == {"meta"}


def test_structures_come_back_as_they_went_in():
    features, labels = batch()
    layer = Misalign(num_classes=CLASSES)
    seen = []
    for given in (
        features,
        tuple(features),
        Pair(*features),
        {"audio": features[0], "video": features[1]},
    ):
        out = layer(given, labels, permutation=torch.arange(8).roll(1))
        assert isinstance(out, Misaligned)
        assert type(out.features) is type(given)
        seen.append(list(out.features.values()) if isinstance(given, dict) else list(out.features))
    assert list(out.features) == ["audio", "video"]
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0])


def test_raw_inputs_of_any_shape_and_dtype():
    labels = torch.arange(6) % CLASSES
    images = torch.randint(256, (6, 3, 4, 4), dtype=torch.uint8)
    tokens = torch.randint(1000, (6, 9))
    layer = Misalign(num_classes=CLASSES, similarity=None, seed=0)
    (mixed_images, mixed_tokens), soft_labels, weights = layer((images, tokens), labels)
    assert mixed_images.shape == (12, 3, 4, 4)
    assert mixed_images.dtype == torch.uint8
    assert mixed_tokens.shape == (12, 9)
    assert soft_labels.dtype == weights.dtype == torch.float32
    assert (weights == 1).all()
    # Nothing is made up: each row is one of those given.
    assert {tuple(x.tolist()) for x in mixed_tokens} <= {tuple(x.tolist()) for x in tokens}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features(dtype):
    features, labels = batch(dtype=dtype)
    mixed, soft_labels, weights = Misalign(num_classes=CLASSES, seed=0)(features, labels)
    assert {x.dtype for x in mixed} == {dtype}
    assert torch.isfinite(weights).all()
    np.testing.assert_allclose(soft_labels.sum(dim=1).float(), 1, atol=1e-2)


def test_draws_differ_from_step_to_step_and_seeds_repeat_them():
    features, labels = batch()

    def rows(layer):
        return tuple(layer(features, labels).features[1][:, 0].tolist())

    layer, twin = Misalign(num_classes=CLASSES, seed=3), Misalign(num_classes=CLASSES, seed=3)
    first = [rows(layer) for _ in range(5)]
    assert first == [rows(twin) for _ in range(5)]
    assert len(set(first)) > 1
    fixed = {
        tuple(layer(features, labels, permutation=torch.arange(8).roll(1)).features[1][:, 0].tolist()) for _ in range(3)
    }
    assert len(fixed) == 1


ZEROS = torch.zeros(4, 2)
OPTIONS = [
    ({"num_classes": 1}, ValueError, "num_classes: expected a whole number >= 2, got 1"),
    ({"variant": "other"}, ValueError, r"variant: expected one of .*got 'other'"),
    ({"similarity": "dot"}, ValueError, r"similarity: expected one of .*got 'dot'"),
    ({"seed": 1.5}, TypeError, r"seed: expected a whole number >= 0, got 1\.5"),
]
CALLS = [
    ({"features": ZEROS}, TypeError, "features: expected a list"),
    ({"features": [ZEROS]}, ValueError, "features: expected two or more"),
    ({"features": [ZEROS, ZEROS[:3]]}, ValueError, r"modality 1: expected shape \(B, D\) with B = 4 .*, got \(3, 2\)"),
    ({"features": {"a": ZEROS.int(), "b": ZEROS}}, TypeError, "'a': expected a floating dtype for similarity='cosine'"),
    ({"labels": torch.zeros(4)}, TypeError, "labels: expected class indices of an integer dtype, got torch.float32"),
    ({"labels": torch.ones(4, 3, dtype=torch.int64)}, ValueError, "labels: expected one-hot rows"),
    ({"unimodal_logits": [ZEROS]}, ValueError, "unimodal_logits: expected 2 modalities, got 1"),
    ({"unimodal_logits": [ZEROS] * 2}, ValueError, r"modality 0: expected shape \(B, C\) = \(4, 3\), got \(4, 2\)"),
    ({"generator": 3}, TypeError, r"generator: expected a torch\.Generator, got int"),
    ({"permutation": torch.arange(3)}, ValueError, r"permutation: expected shape \(B,\) = \(4,\), got \(3,\)"),
    ({"permutation": torch.zeros(4)}, TypeError, "permutation: expected an integer dtype, got .*float32"),
]


@pytest.mark.parametrize(("options", "kind", "message"), OPTIONS)
def test_options(options, kind, message):
    with pytest.raises(kind, match=message):
        Misalign(**{"num_classes": 3, **options})


@pytest.mark.parametrize(("change", "kind", "message"), CALLS, ids=[e[2][:40] for e in CALLS])
def test_calls(change, kind, message):
    given = {"features": [ZEROS, ZEROS], "labels": torch.arange(4) % 3, **change}
    with pytest.raises(kind, match=message):
        Misalign(num_classes=3)(given.pop("features"), given.pop("labels"), **given)


def test_one_hot_rows_are_classes():
    features, labels = [torch.randn(4, 3), torch.randn(4, 5)], torch.tensor([0, 1, 2, 0])
    by_class, by_row = (Misalign(num_classes=3, seed=0)(features, y) for y in (labels, torch.eye(3).long()[labels]))
    for one, other in zip([*by_class.features, *by_class[1:]], [*by_row.features, *by_row[1:]], strict=True):
        torch.testing.assert_close(one, other)
