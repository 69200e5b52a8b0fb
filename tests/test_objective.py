"""The terms of the objective and their total (eq. 10, 11), on every backend."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import midas_core as mc
from midas_core.objective import MidasTerms, reduce_terms
from midas_core.testing.checks import check_values
from midas_core.testing.problems import make_problem, with_mask
from tests.frameworks import get_framework
from tests.steps import DOUBLE, NUMPY, assert_finite, clear_decision, close, run

RNG = np.random.default_rng(0)
BATCH, CLASSES = 5, 3
LABELS = np.array([0, 1, 2, 1, 0])
LOGITS = RNG.normal(size=(5, BATCH, CLASSES)).astype("float32")
SOURCES = mc.source_matrix(np.array([1, 2, 3, 4, 0]), 2)


def objective(bk, array, *, mixed=True, **more):
    fused, *unimodal = (array(z) for z in LOGITS[:3])
    mixed_logits = array(LOGITS[3:]) if mixed else None
    state = mc.MidasState(array(np.array([1.0, 1.5], "float32")), array(np.array(3)))
    given = (fused, unimodal, mixed_logits, array(LABELS), array(SOURCES), None, state)
    return mc.midas_objective(*given, weight=2.0, **more, backend=bk)


def same(found, expected):
    for a, b in zip((*found.terms, *found.state), (*expected.terms, *expected.state), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_step_of_the_warm_up_is_that_without_mixed_samples(framework, variant):
    bk, array = framework.backend, framework.array
    during, after = (array(np.array(x)) for x in (True, False))
    same(objective(bk, array, variant=variant, warmup=during), objective(bk, array, mixed=False, variant=variant))
    same(objective(bk, array, variant=variant, warmup=after), objective(bk, array, variant=variant))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_step_of_the_aligned_finish_is_the_aligned_loss_alone(framework, variant):
    bk, array = framework.backend, framework.array
    whole = objective(bk, array, variant=variant)
    for finish in (
        objective(bk, array, mixed=False, variant=variant, aligned_only=True),
        objective(bk, array, variant=variant, aligned_only=True),
        objective(bk, array, variant=variant, aligned_only=array(np.array(True))),
    ):
        warm = objective(bk, array, mixed=False, variant=variant)
        same(finish, warm._replace(terms=warm.terms._replace(total=warm.terms.aligned)))
        np.testing.assert_allclose(np.asarray(finish.terms.total), np.asarray(whole.terms.aligned), rtol=1e-6)
    no, yes = array(np.array(False)), array(np.array(True))
    same(objective(bk, array, variant=variant, warmup=no, aligned_only=no), whole)
    same(objective(bk, array, variant=variant, warmup=no, aligned_only=yes), finish)
    same(objective(bk, array, variant=variant, warmup=yes, aligned_only=no), warm)


@pytest.mark.parametrize("phase", ["warmup", "aligned_only"])
def test_nothing_comes_back_from_logits_that_a_phase_does_not_look_at(phase):
    framework = get_framework("torch")
    import torch

    fused, mixed = torch.tensor(LOGITS[2]), torch.full((2, BATCH, CLASSES), torch.nan)
    unimodal = [torch.tensor(z) for z in LOGITS[:2]]
    seen, unseen = ([fused], unimodal) if phase == "aligned_only" else (unimodal, [fused])
    unseen[0].fill_(torch.inf)
    for x in (fused, mixed, *unimodal):
        x.requires_grad_()
    state = mc.MidasState(torch.ones(2), torch.tensor(0))
    given = (fused, unimodal, mixed, torch.tensor(LABELS), torch.tensor(SOURCES), None, state)
    found = mc.midas_objective(*given, **{phase: torch.tensor(True)}, backend=framework.backend)
    found.terms.total.sum().backward()
    assert found.terms.total.isfinite().all()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in seen)
    assert not any(x.grad.any() for x in (mixed, *unseen))


def test_no_alpha_without_eta():
    audio, video, sources = 2 * np.eye(2), np.eye(2), mc.source_matrix(np.array([1, 0]), 2)
    mixed = sum(mc.mix([audio, video], sources))
    for eta, alpha in ((0.0, [1, 1]), (0.05, [1, 1.15])):
        state = mc.MidasState(np.ones(2), np.array(0))
        for _ in range(3):
            state = mc.midas_objective(
                audio + video, [audio, video], mixed, np.arange(2), sources, None, state, eta=eta
            ).state
        np.testing.assert_allclose(state.alpha, alpha)


@settings(max_examples=100)
@given(p=DOUBLE, seed=st.integers(0, 1000))
def test_the_order_of_the_modalities_does_not_matter(p, seed):
    # The official ratio, modality 0 over modality 1, is no symmetric rule.
    p = replace(p, variant="paper")
    out = run(p)
    order = np.random.default_rng(seed).permutation(len(p.unimodal))
    sources = mc.source_matrix(p.partners, len(p.unimodal), p.assignment)[order]
    features, unimodal = ([x[m] for m in order] for x in (with_mask(p.features, p.mask), p.unimodal))
    similarities = None if p.similarity is None else mc.similarity(features, sources, p.similarity)
    state = mc.MidasState(p.alpha[order], np.array(p.step))
    options = {name: getattr(p, name) for name in ("weight", "eta", "alpha_update", "max_alpha")}
    terms, state, soft_weights = mc.midas_objective(
        p.fused, unimodal, p.mixed, p.labels, sources, similarities, state, **options
    )
    # Where two modalities are equally weak, the order decides.
    assume(clear_decision(p, out))
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
        mask=None if p.mask is None else p.mask[order],
        fused=p.fused[order],
        unimodal=[z[order] for z in p.unimodal],
        mixed=None if p.mixed is None else p.mixed[:, order],
        partners=place[p.partners[:, order]],
        assignment=None if p.assignment is None else p.assignment[:, order],
    )
    again = run(moved)
    assume(clear_decision(p, out))
    close(again.terms.total, out.terms.total[order], p)
    close(again.state.alpha, out.state.alpha, p)
    close(again.terms.confidence, out.terms.confidence, p)
    close(again.gradients.mixed, out.gradients.mixed[:, order], p)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_weight_zero_leaves_the_misaligned_loss_out(variant):
    p = make_problem(0, weight=0.0, variant=variant)
    out = run(p)
    unimodal = out.terms.unimodal.sum(axis=0) if variant == "paper" else out.terms.unimodal.mean(axis=0)
    np.testing.assert_allclose(out.terms.total, out.terms.aligned + unimodal)
    assert (out.gradients.mixed == 0).all()
    assert out.terms.misaligned.any()


@pytest.mark.parametrize("size", [{"batch": 1}, {"batch": 1, "modalities": 3}, {"batch": 5, "label_kind": "one class"}])
def test_a_batch_without_a_pair(framework, size):
    p = make_problem(0, **{"modalities": 2, "classes": 3, "alpha": 1.5, **size})
    found = check_values(framework, p)
    assert_finite(found)
    # Nobody to be paired with: no misaligned loss, and alpha stays.
    assert (found["misaligned"] == 0).all()
    np.testing.assert_array_equal(found["next_alpha"], p.alpha)
    assert found["next_step"] == p.step


def test_one_class_in_all(framework):
    # C = 1: every probability is 1.
    p = make_problem(0, 4, 2, 1)
    assert (check_values(framework, p)["total"] == 0).all()


def test_reduced_over_the_batch(framework):
    p = make_problem(0, 6, 3, 4)
    terms = run(p).terms
    own = mc.MidasTerms(*(framework.array(x) for x in terms))
    for reduction, over in (("mean", np.mean), ("sum", np.sum), ("none", lambda x, axis: x)):
        found = mc.MidasTerms(*map(framework.numpy, mc.reduce_terms(own, reduction)))
        for name in ("total", "aligned", "unimodal", "misaligned"):
            np.testing.assert_allclose(getattr(found, name), over(getattr(terms, name), axis=-1), rtol=1e-6)
        for name in ("alpha", "confidence", "fused_confidence"):
            np.testing.assert_allclose(getattr(found, name), getattr(terms, name), rtol=1e-6)
    assert mc.reduce_terms(terms, "mean").unimodal.shape == (3,)


def test_in_the_warm_up_no_mixed_sample_weighs_anything():
    assert not objective(NUMPY, np.asarray, warmup=np.array(True)).soft_weights.any()
    assert objective(NUMPY, np.asarray, warmup=np.array(False)).soft_weights.any()


def test_the_mean_of_an_empty_batch_is_zero(framework):
    """A replica of a data-parallel run may get no sample: NaN there would be NaN everywhere."""
    array = framework.array
    each, both, two = (array(np.ones(shape, "float32")) for shape in ((0,), (2, 0), (2,)))
    terms = MidasTerms(each, each, both, each, two, two, two)
    found = reduce_terms(terms, "mean", backend=framework.backend)
    assert [float(x) for x in (found.total, found.aligned, found.misaligned)] == [0, 0, 0]
    assert np.asarray(found.unimodal).tolist() == [0, 0]
