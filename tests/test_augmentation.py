"""The augmentation alone: features, soft labels and weights are the oracle's, on every backend."""

from dataclasses import replace

import numpy as np
import pytest

import midas_core as mc
from midas_core.augmentation import misalign
from midas_core.pairing import make_pairs, source_matrix
from midas_core.testing import oracle
from midas_core.testing.problems import make_problem
from tests.steps import problem


def run(framework, p, *, sources=None, confident=True, similarity="cosine", variant="paper"):
    """Run on a framework and return NumPy arrays."""
    with framework.scope(p.dtype):

        def array(x):
            return None if x is None else framework.array(x)

        if sources is None:
            sources = source_matrix(array(p.partners), len(p.unimodal), array(p.assignment))
        found = misalign(
            [array(f) for f in p.features],
            array(p.labels),
            sources,
            p.fused.shape[1],
            unimodal_logits=[array(z) for z in p.unimodal] if confident else None,
            present=array(p.present),
            similarity=similarity,
            variant=variant,
            backend=framework.backend,
        )
        return [framework.numpy(x) for x in found.features], *(framework.numpy(x) for x in found[1:])


def expected(p, similarity="cosine", variant="paper"):
    """Return features, soft labels and weights of all mixed samples, the first version of each before the second."""
    plain, count = p.lists(), len(p.unimodal)
    plain.variant = variant
    sources = np.array(oracle.source_matrix(plain.partners, count, plain.assignment))
    present = np.ones((len(p.labels), count), bool) if p.present is None else p.present
    known = [np.where(present[:, m].reshape(-1, *[1] * (f.ndim - 1)), f, 0) for m, f in enumerate(p.features)]
    # Of a sequence the mean of its tokens is compared.
    plain.features = [(f.mean(axis=1) if f.ndim == 3 else f).tolist() for f in known]
    features = [f[s.reshape(-1)] for f, s in zip(known, sources, strict=True)]
    labels = np.concatenate(oracle.mixed_soft_labels(plain))
    hard = np.ones(sources.shape[1:])
    if similarity is not None:
        found = oracle.similarity(plain.features, sources.tolist(), similarity)
        hard = np.vectorize(oracle.hard_sample_weight)(found)
    whole = np.all([present[s, m] for m, s in enumerate(sources)], axis=0)
    mixed = p.labels[sources] != p.labels[sources[0]]
    mixed = mixed.any(axis=(0, -1)) if p.labels.ndim == 2 else mixed.any(axis=0)
    counts = whole & (mixed | (variant == "official"))
    return features, labels, np.where(counts, hard, 0).reshape(-1)


def same(found, wanted, rtol=1e-9):
    for a, b in zip(found[0], wanted[0], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "l2", None])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_is_the_oracles(framework, modalities, missing, similarity):
    p = problem({"missing": missing}, modalities=modalities)
    same(run(framework, p, similarity=similarity), expected(p, similarity))


def test_a_batch_with_one_class_weighs_nothing_but_in_the_authors_code(framework):
    p = make_problem(0, 4, 2, 3, label_kind="one class")
    assert not run(framework, p)[2].any()
    same(run(framework, p, variant="official"), expected(p, variant="official"))
    assert run(framework, p, variant="official")[2].all()


def test_pairs_take_the_place_of_a_source_matrix(framework):
    p = problem()
    with framework.scope(p.dtype):
        sources = source_matrix(framework.array(p.partners), 2)
        pairs = make_pairs(framework.array(p.labels), sources)
    same(run(framework, p, sources=pairs), expected(p))
    # What counts is in them.
    nothing = pairs._replace(mask=pairs.mask & ~pairs.mask)
    assert not run(framework, p, sources=nothing)[2].any()


def test_without_logits_all_modalities_share_alike(framework):
    for dtype in ("float64", "float32"):
        p = problem(modalities=3, dtype=dtype)
        flat = replace(p, unimodal=[np.zeros_like(z) for z in p.unimodal])
        found = run(framework, p, confident=False)
        # In the dtype of the features.
        assert [x.dtype for x in found[1:]] == [p.dtype] * 2
        same(found, expected(flat), rtol=1e-9 if dtype == "float64" else 1e-6)


def test_several_labels(framework):
    p = problem(multi_label=True)
    features, labels, weights = run(framework, p)
    sources = np.array(oracle.source_matrix(p.partners.tolist(), 2))
    c = np.exp([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = np.stack([c[m][sources[m]] for m in range(2)])
    shares = shares / shares.sum(axis=0)
    wanted = sum(shares[m][..., None] * p.labels[sources[m]] for m in range(2))
    np.testing.assert_allclose(labels, wanted.reshape(-1, 3))
    np.testing.assert_array_equal(features[1], p.features[1][sources[1].reshape(-1)])
    np.testing.assert_array_equal(weights > 0, (p.labels[sources[0]] != p.labels[sources[1]]).any(axis=-1).reshape(-1))


def test_soft_labels_and_weights_are_constants(autograd):
    p = problem(dtype="float64")
    with autograd.scope(p.dtype):
        sources = source_matrix(autograd.array(p.partners), 2)
        labels = autograd.array(p.labels)

        def total(*x):
            found = misalign(x[:2], labels, sources, 3, unimodal_logits=x[2:], backend=autograd.backend)
            sum_ = autograd.backend.xp.sum
            return [sum_(found.soft_labels * found.soft_labels) + sum_(found.weights)], []

        given = [autograd.array(x) for x in (*p.features, *p.unimodal)]
        (slopes,), _ = autograd.gradients(total, given)
    assert not any(np.any(slope) for slope in slopes)


P = make_problem(0, 4, 2, 3)
SOURCES = source_matrix(P.partners, 2)
WRONG = {
    "similarity: expected one of ['cosine', 'l2', None], got 'dot'": {"similarity": "dot"},
    "variant: expected one of ['paper', 'official'], got 'papre'": {"variant": "papre"},
    "features: expected 2 modalities, got 3": {"features": [*P.features, P.features[0]]},
    "labels: expected class indices of an integer dtype, got float64": {"labels": P.fused[:, 0]},
    "labels: expected shape (B, C) = (?, 3), got (4, 2)": {"labels": np.zeros((4, 2), int)},
    "present: expected shape (B, M) = (4, 2), got (3, 2)": {"present": np.ones((3, 2), bool)},
    "unimodal_logits: expected 2 modalities, got 3": {"unimodal_logits": [*P.unimodal, P.unimodal[0]]},
    "unimodal_logits[1]: expected shape (B, C) = (4, 3), got (4, 2)": {
        "unimodal_logits": [P.unimodal[0], P.unimodal[1][:, :2]]
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit(message):
    given = {"features": P.features, "labels": P.labels, "sources": SOURCES, "num_classes": 3} | WRONG[message]
    with pytest.raises((TypeError, ValueError)) as error:
        misalign(**given)
    assert str(error.value) == message


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_a_modality_of_no_width_and_a_batch_of_no_samples(framework, similarity):
    array = framework.array
    for batch in (4, 0):
        features = [array(np.ones((batch, width), "float32")) for width in (0, 3)]
        sources = mc.source_matrix(array(np.roll(np.arange(batch), 1)), 2)
        found = misalign(features, array(np.arange(batch) % 2), sources, 2, similarity=similarity)
        assert [framework.numpy(x).shape for x in found.features] == [(2 * batch, 0), (2 * batch, 3)]
        assert np.isfinite(framework.numpy(found.weights)).all()
        assert framework.numpy(found.soft_labels).sum() == 2 * batch


def test_labels_in_numpy_are_classes():
    features, sources = [np.ones((2, 1)), np.ones((2, 1))], mc.source_matrix(np.array([1, 0]), 2)
    for label in (-1, 2):
        with pytest.raises(ValueError, match=rf"labels: expected whole numbers in 0 \.\.\. 1, got {label} in sample 1"):
            misalign(features, np.array([0, label]), sources, 2)
