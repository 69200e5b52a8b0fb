"""The soft vote is the weighted mean of probabilities, on every backend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_core import ensemble_logits
from tests.frameworks import get_framework


def probabilities(z, multi_label):
    if multi_label:
        return 1 / (1 + np.exp(-z))
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def expected(fused, unimodal, weight, present, multi_label):
    """Return the mean of probabilities, sample by sample."""
    rows = []
    for i in range(len(fused)):
        heads = [m for m in range(len(unimodal)) if present is None or present[i, m]]
        own = probabilities(fused[i], multi_label)
        if heads:
            others = np.mean([probabilities(unimodal[m][i], multi_label) for m in heads], axis=0)
            own = (1 - weight) * own + weight * others
        rows.append(own)
    return np.stack(rows)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    batch, modalities, classes = draw(st.integers(1, 5)), draw(st.integers(2, 4)), draw(st.integers(2, 5))
    scale = draw(st.sampled_from([1.0, 10.0]))
    present = rng.random((batch, modalities)) < 0.6 if draw(st.booleans()) else None
    fused = scale * rng.normal(size=(batch, classes))
    unimodal = [scale * rng.normal(size=(batch, classes)) for _ in range(modalities)]
    return fused, unimodal, draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])), present, draw(st.booleans())


@settings(max_examples=25)
@given(case=cases())
def test_the_vote_is_the_mean_of_probabilities(framework, case):
    fused, unimodal, weight, present, multi_label = case
    dtype = np.float64
    with framework.scope(dtype):
        given_present = None if present is None else framework.array(present)
        found = ensemble_logits(
            framework.array(fused.astype(dtype)),
            [framework.array(z.astype(dtype)) for z in unimodal],
            weight=weight,
            present=given_present,
            multi_label=multi_label,
            backend=framework.backend,
        )
        found = framework.numpy(found)
    np.testing.assert_allclose(
        probabilities(found, multi_label),
        expected(fused, unimodal, weight, present, multi_label),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("weight", [0, 1])
def test_no_weight_keeps_the_fused_decision_and_all_of_it_leaves_it_out(weight):
    fused, own = np.array([[5.0, 0.0]]), np.array([[0.0, 1.0]])
    found = probabilities(ensemble_logits(fused, [own, own], weight=weight), False)
    np.testing.assert_allclose(found, probabilities(own if weight else fused, False))


def test_one_label_unless_told_otherwise():
    fused, own = np.array([[5.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 2.0]])
    found, one, several = (
        ensemble_logits(fused, [own, -own], **more) for more in ({}, {"multi_label": False}, {"multi_label": True})
    )
    np.testing.assert_array_equal(found, one)
    assert not np.allclose(found, several)


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_is_missing_may_hold_anything(multi_label):
    fused, own = np.array([[5.0, 0.0]]), np.array([[0.0, 1.0]])
    missing = np.full((1, 2), np.nan)
    present = np.array([[True, False]])
    found = ensemble_logits(fused, [own, missing], present=present, multi_label=multi_label)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_large_logits_stay_finite_and_half_precision_is_taken_to_single(dtype):
    z = np.array([[6e4, -6e4], [-6e4, 6e4]], dtype)
    found = ensemble_logits(z, [z[::-1], z[::-1]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(probabilities(found, False), 0.5, atol=1e-6)
    assert np.isfinite(ensemble_logits(z, [z[::-1], z[::-1]], multi_label=True)).all()


ZEROS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"weight": 1.5}, ValueError, r"weight: expected a number in \[0, 1\], got 1.5"),
        ({"weight": "half"}, TypeError, r"weight: expected a number in \[0, 1\], got 'half'"),
        ({"unimodal_logits": [ZEROS]}, ValueError, "unimodal_logits: expected two or more modalities, got 1"),
        ({"unimodal_logits": [ZEROS, np.zeros((2, 4))]}, ValueError, r"\[1\]: expected .* = \(2, 3\), got \(2, 4\)"),
        ({"fused_logits": np.zeros((2, 3), int)}, TypeError, "fused_logits: expected a real floating dtype, got int64"),
        ({"present": np.ones((2, 3), bool)}, ValueError, r"present: expected shape \(B, M\) = \(2, 2\), got \(2, 3\)"),
        ({"present": np.ones((2, 2))}, TypeError, "present: expected dtype bool, got float64"),
        ({"multi_label": 1}, TypeError, "multi_label: expected True or False, got 1"),
    ],
    ids=map(str, range(8)),
)
def test_errors(change, kind, message):
    given = {"fused_logits": ZEROS, "unimodal_logits": [ZEROS] * 2, **change}
    with pytest.raises(kind, match=message):
        ensemble_logits(**given)


def test_traced_by_jax_and_torch():
    torch, jax = get_framework("torch"), get_framework("jax")
    fused, own = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    expected_rows = ensemble_logits(fused, [own, own])
    import jax as library
    import torch as torch_library

    found = library.jit(lambda f, o: ensemble_logits(f, [o, o]))(jax.array(fused), jax.array(own))
    np.testing.assert_allclose(found, expected_rows, rtol=1e-5)
    traced = torch_library.compile(lambda f, o: ensemble_logits(f, [o, o]), fullgraph=True, backend="aot_eager")
    np.testing.assert_allclose(traced(torch.array(fused), torch.array(own)), expected_rows, rtol=1e-5)
