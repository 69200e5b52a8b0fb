"""The weight of the weak modality (eq. 5 to 7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import midas_core as mc
from midas_core.testing.checks import results_of
from midas_core.testing.problems import make_problem
from tests.steps import DOUBLE, run


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
    mask = mc.pairs.pair_mask(mc.pairs.pair_classes(p.labels, sources))[:, keep]
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))[..., keep]
    np.testing.assert_allclose(found["confidence"], [shares[m][mask].mean() for m in range(2)])
