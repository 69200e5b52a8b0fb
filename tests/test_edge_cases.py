"""Inputs at the edge of what there can be: still numbers, still the oracle's."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import midas_core as mc
from midas_core.testing.checks import check_values, results_of
from midas_core.testing.problems import make_problem


def assert_finite(found):
    for name, x in found.items():
        assert np.isfinite(x).all(), f"{name} is not finite: {x}"


@pytest.mark.parametrize("modalities", [2, 3])
def test_batch_of_one(framework, modalities):
    p = make_problem(0, 1, modalities, 3, alpha=1.5)
    found = check_values(framework, p)
    assert_finite(found)
    # Nobody to be paired with: no misaligned loss, and alpha stays.
    assert found["misaligned"] == 0
    np.testing.assert_array_equal(found["next_alpha"], p.alpha)
    assert found["next_step"] == p.step


def test_batch_of_one_class(framework):
    p = make_problem(0, 5, 2, 3, label_kind="one class")
    found = check_values(framework, p)
    assert_finite(found)
    assert (found["misaligned"] == 0).all()
    np.testing.assert_array_equal(found["next_alpha"], p.alpha)


def test_one_class_in_all(framework):
    # C = 1: every probability is 1.
    p = make_problem(0, 4, 2, 1)
    assert (check_values(framework, p)["total"] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_confidences_that_all_underflow_share_equally(framework, dtype):
    p = make_problem(0, 4, 2, 3, dtype=dtype)
    p = replace(p, labels=np.array([0, 1, 2, 0]), partners=np.array([[1, 2, 3, 0]]))
    wrong = np.where(np.arange(3) == ((p.labels + 1) % 3)[:, None], 2000, 0).astype(dtype)
    p = replace(p, unimodal=[wrong, wrong / 2], mixed=np.stack([wrong, wrong]))
    found = check_values(framework, p)
    assert_finite(found)
    np.testing.assert_array_equal(found["confidence"], 0.5)


@pytest.mark.parametrize("alpha_update", ["sign", "difference"])
def test_official_ratio_of_confidences_that_underflow(framework, alpha_update):
    # The ratio of two means of zero has no value: alpha must stay one.
    p = make_problem(0, 4, 2, 3, scale=1e4, dtype="float32", variant="official", alpha_update=alpha_update)
    with np.errstate(all="ignore"):
        found = results_of(framework, p)
    assert np.isfinite(found["next_alpha"]).all()
    assert (found["next_alpha"] >= 1).all()


@pytest.mark.parametrize("kind", ["cosine", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_features(framework, kind, dtype):
    p = make_problem(0, 5, 3, 3, similarity=kind, dtype=dtype)
    p = replace(p, features=[np.zeros_like(f) for f in p.features])
    assert_finite(check_values(framework, p))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_very_small_and_very_large_features(framework, dtype, size):
    p = make_problem(0, 5, 2, 3, dtype=dtype)
    p = replace(p, features=[(f * size).astype(dtype) for f in p.features])
    check_values(framework, p)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits(framework, dtype):
    p = make_problem(1, 5, 2, 3, dtype=dtype)
    p = replace(
        p,
        fused=np.where(p.fused > 0, 1e4, -1e4).astype(dtype),
        unimodal=[np.where(z > 0, 1e4, -1e4).astype(dtype) for z in p.unimodal],
        mixed=np.where(p.mixed > 0, 1e4, -1e4).astype(dtype),
    )
    assert_finite(check_values(framework, p))


@pytest.mark.parametrize("similarity", ["cosine", None])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(framework, dtype, similarity):
    if framework.name == "array_api_strict":
        pytest.skip("the standard has no half precision")
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    single = make_problem(0, 5, 2, 3, dtype="float32", similarity=similarity)

    def rounded(x, target):
        return x.astype(kind).astype(target)

    def logits_as(target):
        return replace(
            single,
            fused=rounded(single.fused, target),
            unimodal=[rounded(z, target) for z in single.unimodal],
            mixed=rounded(single.mixed, target),
            features=[rounded(f, target) for f in single.features],
        )

    half, full = results_of(framework, logits_as(kind)), results_of(framework, logits_as(np.float32))
    assert_finite(half)
    for name, expected in full.items():
        assert half[name].dtype == expected.dtype, name
        np.testing.assert_allclose(half[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("alpha_update", ["sign", "difference"])
def test_a_nan_stays_with_the_samples_that_it_takes_part_in(framework, variant, alpha_update):
    p = make_problem(0, 6, 2, 3, variant=variant, alpha_update=alpha_update, label_kind="any")
    clean = results_of(framework, p)
    bad = 2
    sources = mc.source_matrix(p.partners, 2)
    touched = (sources == bad).any(axis=0)  # (V, B)
    spoiled = replace(
        p,
        features=[np.where(_row(f, bad), np.nan, f) for f in p.features],
        fused=np.where(_row(p.fused, bad), np.nan, p.fused),
        unimodal=[np.where(_row(z, bad), np.nan, z) for z in p.unimodal],
        mixed=np.where(touched[..., None], np.nan, p.mixed),
    )
    found = results_of(framework, spoiled)
    untouched = ~touched.any(axis=0)
    assert untouched.any()
    mask = mc.pair_mask(mc.pair_classes(p.labels, sources)).any(axis=0)
    assert np.isnan(found["misaligned"][touched.any(axis=0) & mask]).all()
    assert np.isfinite(found["next_alpha"]).all()
    assert np.isfinite(found["alpha"]).all()
    if variant == "paper":
        assert np.isfinite(found["confidence"]).all()
        np.testing.assert_allclose(found["total"][untouched], clean["total"][untouched], rtol=1e-12)
        for k in range(3):
            np.testing.assert_allclose(
                np.delete(found[f"gradient {k}"], bad, 0), np.delete(clean[f"gradient {k}"], bad, 0), rtol=1e-12
            )
    assert np.isfinite(found["total"][untouched]).all()


def _row(x, i):
    return (np.arange(len(x)) == i).reshape((-1,) + (1,) * (x.ndim - 1))


def test_alpha_is_what_the_clean_samples_make_it(framework):
    # A sample that is not finite counts as masked.
    p = make_problem(3, 6, 2, 3, first_step=True)
    broken = p.mixed.copy()
    broken[:, 1] = np.nan
    found = results_of(framework, replace(p, mixed=broken))
    keep = np.arange(6) != 1
    sources = mc.source_matrix(p.partners, 2)
    mask = mc.pair_mask(mc.pair_classes(p.labels, sources))[:, keep]
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))[..., keep]
    np.testing.assert_allclose(found["confidence"], [shares[m][mask].mean() for m in range(2)])


def test_infinite_logits_of_classes_that_do_not_occur(framework):
    # Masked classes have a logit of -inf: a probability of zero, and nothing else changes.
    p = make_problem(0, 5, 2, 4)
    labels = p.labels % 3
    minus = np.where(np.arange(4) == 3, -np.inf, 0)

    def cut(z):
        return z[..., :3]

    masked = replace(
        p, labels=labels, fused=p.fused + minus, unimodal=[z + minus for z in p.unimodal], mixed=p.mixed + minus
    )
    small = replace(p, labels=labels, fused=cut(p.fused), unimodal=[cut(z) for z in p.unimodal], mixed=cut(p.mixed))
    found, expected = results_of(framework, masked), results_of(framework, small)
    for name in ("total", "next_alpha", "soft_weights"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
    np.testing.assert_array_equal(found["gradient 0"][:, 3], 0)
