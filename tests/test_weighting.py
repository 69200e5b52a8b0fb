"""Confidence shares and soft labels, and the weight of the weak modality (eq. 2 to 7)."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import midas_core as mc
from midas_core.testing.checks import check_values, results_of
from midas_core.testing.problems import make_problem
from midas_core.weighting import (
    imbalance,
    next_state,
)
from tests.steps import DOUBLE, assert_finite, run


@settings(max_examples=100)
@given(p=DOUBLE)
def test_soft_labels_sum_to_one_and_live_on_the_classes_that_take_part(p):
    sources = mc.source_matrix(p.partners, len(p.unimodal), p.assignment)
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
    assert (shares >= 0).all()
    classes = mc.pairing.pair_classes(p.labels, sources)
    count = p.fused.shape[1]
    labels = mc.soft_labels(shares, classes, count)
    np.testing.assert_allclose(labels.sum(axis=-1), 1, rtol=1e-12)
    takes_part = (classes[..., None] == np.arange(count)).any(axis=0)
    assert (labels[~takes_part] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_confidences_that_all_underflow_share_equally(framework, dtype):
    p = make_problem(0, 4, 2, 3, dtype=dtype)
    p = replace(p, labels=np.array([0, 1, 2, 0]), partners=np.array([[1, 2, 3, 0]]))
    wrong = np.where(np.arange(3) == ((p.labels + 1) % 3)[:, None], 2000, 0).astype(dtype)
    p = replace(p, unimodal=[wrong, wrong / 2], mixed=np.stack([wrong, wrong]))
    found = check_values(framework, p)
    assert_finite(found)
    np.testing.assert_array_equal(found["confidence"], 0.5)


@settings(max_examples=100)
@given(p=DOUBLE)
def test_alpha_stays_within_its_bounds_and_weighs_one_modality(p):
    out = run(p)
    for alpha in (out.state.alpha, out.terms.alpha):
        assert (alpha >= 1).all()
    changed = out.state.step > p.step
    if changed:
        assert (out.state.alpha > 1).sum() <= 1
        if p.max_alpha is not None:
            assert (out.state.alpha <= p.max_alpha).all()
    else:
        np.testing.assert_array_equal(out.state.alpha, p.alpha)


def test_the_paper_weak_modality_is_the_one_that_gets_alpha():
    # Modality 1 knows nothing, and the fused classifier looks at modality 0 alone.
    labels = np.array([0, 1])
    sure, blind = 4.0 * np.eye(2), np.zeros((2, 2))
    sources = mc.source_matrix(np.array([1, 0]), 2)
    mixed = mc.mix([sure, blind], sources)
    state = mc.MidasState(np.ones(2), np.array(0))
    for step in range(1, 5):
        terms, state, _ = mc.midas_objective(2 * sure, [sure, blind], 2 * mixed[0], labels, sources, None, state)
        np.testing.assert_allclose(state.alpha, [1, 1 + 0.05 * step])
    assert terms.confidence[0] > terms.confidence[1] > terms.fused_confidence[1]


def test_alpha_stops_at_its_cap_and_at_one():
    p = make_problem(0, eta=10.0, max_alpha=3.0, first_step=True, alpha=1.0)
    alphas = {run(replace(p, mixed=sign * p.mixed)).state.alpha.max() for sign in (-1, 1)}
    assert alphas == {1.0, 3.0}


@pytest.mark.parametrize("alpha_update", ["sign", "difference"])
def test_official_ratio_of_confidences_that_underflow(framework, alpha_update):
    # The ratio of two means of zero has no value: alpha must stay one.
    p = make_problem(0, 4, 2, 3, scale=1e4, dtype="float32", variant="official", alpha_update=alpha_update)
    with np.errstate(all="ignore"):
        found = results_of(framework, p)
    assert np.isfinite(found["next_alpha"]).all()
    assert (found["next_alpha"] >= 1).all()


def test_alpha_is_what_the_clean_samples_make_it(framework):
    # A sample that is not finite counts as masked.
    p = make_problem(3, 6, 2, 3, first_step=True)
    broken = p.mixed.copy()
    broken[:, 1] = np.nan
    found = results_of(framework, replace(p, mixed=broken))
    keep = np.arange(6) != 1
    sources = mc.source_matrix(p.partners, 2)
    mask = mc.pairing.pair_mask(mc.pairing.pair_classes(p.labels, sources))[:, keep]
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))[..., keep]
    np.testing.assert_allclose(found["confidence"], [shares[m][mask].mean() for m in range(2)])


def test_nothing_moves_without_a_pair_and_ties_go_to_the_first():
    found = imbalance(np.full((2, 2, 2, 3), 0.5), np.ones((2, 3), bool))
    assert found.strong.tolist() == [False, True]
    assert (found.gap.tolist(), found.any_pair) == ([0, 0], True)
    nobody = imbalance(np.full((2, 2, 2, 3), 0.5), np.zeros((2, 3), bool))
    assert not nobody.any_pair
    assert nobody.confidence.tolist() == [0, 0]
    state = mc.MidasState(np.array([1.0, 1.5]), np.array(3))
    after = next_state(state, np.array([1.0, 1.5]), nobody)
    assert (after.alpha.tolist(), after.step) == ([1.0, 1.5], 3)
    # Equal shares: the sign is 0, and alpha stays what it is for the weak modality.
    assert next_state(state, np.array([1.5, 1.0]), found, eta=0.5).alpha.tolist() == [1.5, 1.0]


def test_the_step_of_alpha_and_its_default():
    shares = np.array([[[[0.7]], [[0.9]]], [[[0.3]], [[0.1]]]])
    found, state = imbalance(shares, np.array([[True]])), mc.MidasState(np.ones(2), np.array(0))
    assert next_state(state, state.alpha, found).alpha.tolist() == [1.0, 1.05]
    assert next_state(state, state.alpha, found, eta=0.2).alpha.tolist() == [1.0, 1.2]
    moved = next_state(state, state.alpha, found, eta=0.5, alpha_update="difference").alpha
    np.testing.assert_allclose(moved, [1, 1.1])
    assert next_state(state, np.array([1.0, 3.0]), found, max_alpha=2).alpha.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="alpha_update") as error:
        next_state(state, state.alpha, found, alpha_update="signs")
    assert str(error.value) == "alpha_update: expected one of ['sign', 'difference'], got 'signs'"
