"""What must hold whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import midas_core as mc
from midas_core.testing import oracle
from midas_core.testing.checks import ARRAYS, run_core
from midas_core.testing.problems import make_problem, problems
from tests.frameworks import get_framework

NUMPY = get_framework("numpy").backend
DOUBLE = problems(dtypes=("float64",), real=False)


def run(p):
    return run_core(NUMPY, p, {name: np.array(p.step) if name == "step" else getattr(p, name) for name in ARRAYS})


def close(found, expected, p):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=p.tolerance)


@settings(max_examples=100)
@given(p=DOUBLE)
def test_soft_labels_sum_to_one_and_live_on_the_classes_that_take_part(p):
    sources = mc.source_matrix(p.partners, len(p.unimodal), p.assignment)
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
    assert (shares >= 0).all()
    classes = mc.pair_classes(p.labels, sources)
    count = p.fused.shape[1]
    labels = mc.soft_labels(shares, classes, count)
    np.testing.assert_allclose(labels.sum(axis=-1), 1, rtol=1e-12)
    takes_part = (classes[..., None] == np.arange(count)).any(axis=0)
    assert (labels[~takes_part] == 0).all()


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


@settings(max_examples=100)
@given(p=DOUBLE, seed=st.integers(0, 1000))
def test_the_order_of_the_modalities_does_not_matter(p, seed):
    # The official ratio, modality 0 over modality 1, is no symmetric rule.
    p = replace(p, variant="paper")
    out = run(p)
    order = np.random.default_rng(seed).permutation(len(p.unimodal))
    sources = mc.source_matrix(p.partners, len(p.unimodal), p.assignment)[order]
    features, unimodal = ([x[m] for m in order] for x in (p.features, p.unimodal))
    similarities = None if p.similarity is None else mc.similarity(features, sources, p.similarity)
    state = mc.MidasState(p.alpha[order], np.array(p.step))
    options = {name: getattr(p, name) for name in ("weight", "eta", "alpha_update", "max_alpha")}
    terms, state, soft_weights = mc.midas_objective(
        p.fused, unimodal, p.mixed, p.labels, sources, similarities, state, **options
    )
    # Where two modalities are equally weak, the order decides.
    assume(_clear_decision(p, out))
    close(terms.total, out.terms.total, p)
    close(terms.misaligned, out.terms.misaligned, p)
    close(state.alpha, out.state.alpha[order], p)
    close(soft_weights, out.soft_weights[order], p)


@settings(max_examples=100)
@given(p=DOUBLE, seed=st.integers(0, 1000))
def test_the_order_of_the_samples_does_not_matter(p, seed):
    out = run(p)
    order = np.random.default_rng(seed).permutation(len(p.labels))
    place = np.argsort(order)
    moved = replace(
        p,
        labels=p.labels[order],
        features=[f[order] for f in p.features],
        fused=p.fused[order],
        unimodal=[z[order] for z in p.unimodal],
        mixed=None if p.mixed is None else p.mixed[:, order],
        partners=place[p.partners[:, order]],
        assignment=None if p.assignment is None else p.assignment[:, order],
    )
    again = run(moved)
    assume(_clear_decision(p, out))
    close(again.terms.total, out.terms.total[order], p)
    close(again.state.alpha, out.state.alpha, p)
    close(again.terms.confidence, out.terms.confidence, p)
    close(again.gradients.mixed, out.gradients.mixed[:, order], p)


@settings(max_examples=100)
@given(p=DOUBLE, shift=st.sampled_from((-300.0, 0.5, 1e4)))
def test_a_shift_of_all_logits_of_a_row_does_not_matter(p, shift):
    out = run(p)
    rows = shift * np.linspace(-1, 1, len(p.labels))[:, None]
    shifted = replace(
        p,
        fused=p.fused + rows,
        unimodal=[z - rows for z in p.unimodal],
        mixed=None if p.mixed is None else p.mixed + 2 * rows,
    )
    again = run(shifted)
    assume(_clear_decision(shifted, out))
    close(again.terms.total, out.terms.total, shifted)
    close(again.state.alpha, out.state.alpha, shifted)
    close(again.gradients.mixed, out.gradients.mixed, shifted)


def _clear_decision(p, out):
    """Whether no rounding can turn the choice of the weak modality or the sign of the gap."""
    return len(list(oracle.steps_within_rounding(p.lists(), p.tolerance))) <= 2


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_weight_zero_leaves_the_misaligned_loss_out(variant):
    p = make_problem(0, weight=0.0, variant=variant)
    out = run(p)
    unimodal = out.terms.unimodal.sum(axis=0) if variant == "paper" else out.terms.unimodal.mean(axis=0)
    np.testing.assert_allclose(out.terms.total, out.terms.aligned + unimodal)
    assert (out.gradients.mixed == 0).all()
    assert out.terms.misaligned.any()


def test_the_misaligned_loss_is_linear_in_its_weight():
    one, three = (run(make_problem(0, weight=w)).terms for w in (1.0, 3.0))
    np.testing.assert_allclose(three.total - one.total, 2 * one.misaligned)


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


def test_the_hard_sample_weight_lies_between_one_and_two():
    for kind in ("cosine", "l2"):
        for seed in range(20):
            p = make_problem(seed, similarity=kind, zero_features=seed % 2 == 0)
            s = mc.similarity(p.features, mc.source_matrix(p.partners, 2), kind)
            weights = mc.hard_sample_weight(s)
            assert (weights >= 1 - 1e-12).all()
            assert (weights <= 2 + 1e-12).all()


def test_a_scale_of_the_features_does_not_change_the_similarity():
    p = make_problem(0)
    sources = mc.source_matrix(p.partners, 2)
    for kind in ("cosine", "l2"):
        one = mc.similarity(p.features, sources, kind)
        for scale in (1e-150, 1e150):
            scaled = mc.similarity([f * scale for f in p.features], sources, kind)
            np.testing.assert_allclose(scaled, one, rtol=1e-9)
