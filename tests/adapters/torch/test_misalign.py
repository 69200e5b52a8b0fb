"""The augmentation layer alone."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch

import midas_core as mc
from midas_core.adapters.torch import Misalign, Misaligned
from midas_core.testing import oracle

CLASSES = 3
Pair = namedtuple("Pair", ["audio", "video"])


def batch(modalities=2, size=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(size, 3 + m, generator=generator, dtype=dtype) for m in range(modalities)]
    return features, torch.arange(size) % CLASSES


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", ["cosine", "l2", None])
def test_against_the_oracle(modalities, kind, variant):
    features, labels = batch(modalities)
    logits = [torch.randn(8, CLASSES, dtype=torch.float64) for _ in range(modalities)]
    layer = Misalign(num_classes=CLASSES, similarity=kind, variant=variant)
    numbers = mc.draw(labels, modalities, torch.Generator().manual_seed(1))
    sources = mc.pairing.draw_sources(numbers, labels, modalities, variant=variant).tolist()
    mixed, soft_labels, weights = layer(
        features, labels, unimodal_logits=logits, generator=torch.Generator().manual_seed(1)
    )
    similarities = None
    if kind is not None:
        similarities = oracle.similarity([f.tolist() for f in features], sources, kind)
    for v in range(2):
        for i in range(8):
            row = 8 * v + i
            origin = [sources[m][v][i] for m in range(modalities)]
            for m in range(modalities):
                assert torch.equal(mixed[m][row], features[m][origin[m]])
            classes = [int(labels[j]) for j in origin]
            log_c = [oracle.log_softmax(logits[m][j].tolist())[int(labels[j])] for m, j in enumerate(origin)]
            expected = oracle.soft_label(oracle.normalise(log_c), classes, CLASSES)
            np.testing.assert_allclose(soft_labels[row], expected, atol=1e-12)
            weight = 1.0 if similarities is None else oracle.hard_sample_weight(similarities[v][i])
            if variant == "paper" and len(set(classes)) == 1:
                weight = 0.0
            np.testing.assert_allclose(weights[row], weight, atol=1e-12)


def test_without_logits_the_shares_are_equal():
    features, labels = batch(3)
    _, soft_labels, weights = Misalign(num_classes=CLASSES, seed=0)(features, labels)
    np.testing.assert_allclose(soft_labels.sum(dim=1), 1, rtol=1e-12)
    np.testing.assert_allclose(3 * soft_labels, (3 * soft_labels).round(), atol=1e-12)
    assert (weights >= 1).all()
    assert (weights <= 2).all()


def test_a_batch_of_one_class_weighs_nothing():
    features, _ = batch()
    layer = Misalign(num_classes=CLASSES, seed=0)
    _, soft_labels, weights = layer(features, torch.ones(8, dtype=torch.int64))
    assert (weights == 0).all()
    assert (soft_labels[:, 1] == 1).all()
    # However few the others are, everybody finds one.
    _, _, weights = layer(features, torch.tensor([0, 0, 0, 0, 0, 0, 0, 2]))
    assert (weights >= 1).all()


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


def test_gradients_flow_through_the_features_alone():
    features, labels = batch()
    features = [f.requires_grad_() for f in features]
    logits = [torch.randn(8, CLASSES, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    mixed, soft_labels, weights = Misalign(num_classes=CLASSES, seed=0)(features, labels, unimodal_logits=logits)
    assert not soft_labels.requires_grad
    assert not weights.requires_grad
    sum(x.sum() for x in mixed).backward()
    # Every feature goes into its own mixed sample, and into that of each sample whose partner it is.
    for f in features:
        assert (f.grad >= 1).all()
        assert f.grad[:, 0].sum() == 16


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


ERRORS = [
    (lambda: Misalign(num_classes=1), ValueError, "num_classes: expected a whole number >= 2, got 1"),
    (lambda: Misalign(num_classes=3, variant="other"), ValueError, r"variant: expected one of .*got 'other'"),
    (lambda: Misalign(num_classes=3, similarity="dot"), ValueError, r"similarity: expected one of .*got 'dot'"),
    (lambda: Misalign(num_classes=3, seed=1.5), TypeError, r"seed: expected a whole number >= 0, got 1\.5"),
    (lambda: Misalign(num_classes=3)(torch.zeros(4, 2), torch.arange(4)), TypeError, "features: expected a list"),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)], torch.arange(4)),
        ValueError,
        "features: expected two or more",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2), torch.zeros(3, 2)], torch.arange(4)),
        ValueError,
        r"features of modality 1: expected shape \(B, D\) with B = 4 as in labels, got \(3, 2\)",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)] * 2, torch.zeros(4)),
        TypeError,
        "labels: expected class indices of an integer dtype, got torch.float32",
    ),
    (
        lambda: Misalign(num_classes=3)({"a": torch.zeros(4, 2).int(), "b": torch.zeros(4, 2)}, torch.arange(4)),
        TypeError,
        "features of modality 'a': expected a floating dtype for similarity='cosine', got torch.int32",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)] * 2, torch.arange(4), unimodal_logits=[torch.zeros(4, 2)]),
        ValueError,
        "unimodal_logits: expected 2 modalities, got 1",
    ),
    (
        lambda: Misalign(num_classes=3)(
            [torch.zeros(4, 2)] * 2, torch.arange(4), unimodal_logits=[torch.zeros(4, 2)] * 2
        ),
        ValueError,
        r"unimodal_logits of modality 0: expected shape \(B, C\) = \(4, 3\), got \(4, 2\)",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)] * 2, torch.arange(4), generator=3),
        TypeError,
        r"generator: expected a torch\.Generator, got int",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)] * 2, torch.arange(4), permutation=torch.arange(3)),
        ValueError,
        r"permutation: expected shape \(B,\) = \(4,\), got \(3,\)",
    ),
    (
        lambda: Misalign(num_classes=3)([torch.zeros(4, 2)] * 2, torch.arange(4) % 3, permutation=torch.zeros(4)),
        TypeError,
        "permutation: expected an integer dtype, got .*float32",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_one_hot_rows_are_classes():
    features, labels = [torch.randn(4, 3), torch.randn(4, 5)], torch.tensor([0, 1, 2, 0])
    by_class, by_row = (Misalign(num_classes=3, seed=0)(features, y) for y in (labels, torch.eye(3).long()[labels]))
    for one, other in zip([*by_class.features, *by_class[1:]], [*by_row.features, *by_row[1:]], strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="labels: expected one-hot rows"):
        Misalign(num_classes=3)(features, torch.ones(4, 3, dtype=torch.int64))
