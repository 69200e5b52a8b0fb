"""The losses at the label, in all their options (eq. 9), their targets, and their precision."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import midas_core as mc
from midas_core.testing.checks import results_of
from midas_core.testing.problems import make_problem
from tests.frameworks import get_framework
from tests.steps import DOUBLE, clear_decision, close, problem, run


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
    assume(clear_decision(shifted, out))
    close(again.terms.total, out.terms.total, shifted)
    close(again.state.alpha, out.state.alpha, shifted)
    close(again.gradients.mixed, out.gradients.mixed, shifted)


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


def test_confidences_see_no_smoothing():
    run, p = partial(results_of, get_framework("numpy")), problem()
    for name in ("confidence", "fused_confidence", "next_alpha", "soft_weights"):
        np.testing.assert_array_equal(run(replace(p, label_smoothing=0.3))[name], run(p)[name])


def test_the_terms_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    cross_entropy, binary = torch.nn.functional.cross_entropy, torch.nn.functional.binary_cross_entropy_with_logits
    p = replace(problem(), class_weights=np.array([0.5, 2.0, 3.0]), label_smoothing=None)
    z, y, w = torch.tensor(p.fused), torch.tensor(p.labels), torch.tensor(p.class_weights)
    found = results_of(get_framework("numpy"), p)["aligned"]
    np.testing.assert_allclose(found, cross_entropy(z, y, w, reduction="none"))
    # The mean goes over the number of samples; PyTorch divides by the sum of the weights.
    assert found.mean() == pytest.approx(float(cross_entropy(z, y, w) * w[y].mean()))
    found = results_of(get_framework("numpy"), replace(p, class_weights=None, label_smoothing=0.1))["aligned"]
    np.testing.assert_allclose(found, cross_entropy(z, y, label_smoothing=0.1, reduction="none"))
    p = replace(problem(multi_label=True), class_weights=p.class_weights)
    found = results_of(get_framework("numpy"), p)["aligned"]
    np.testing.assert_allclose(
        found, binary(*map(torch.tensor, (p.fused, p.labels * 1.0)), w, reduction="none").mean(dim=1)
    )


EVERYTHING = {"sample_weight": True, "class_weights": True, "label_smoothing": 0.1, "missing": 0.3}


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_what_changes_nothing(variant):
    framework, plain = get_framework("numpy"), problem(variant=variant)
    none = replace(plain, sample_weight=np.ones(8), class_weights=np.ones(3), label_smoothing=0.0)
    if variant == "paper":
        none = replace(none, present=np.ones((8, 2), dtype=bool))
    expected = results_of(framework, plain)
    for name, found in results_of(framework, none).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_weight_goes_with_the_label_into_the_mixed_samples():
    # Only sample 2 weighs anything: a mixed sample counts by what it has of sample 2.
    p = replace(problem(), sample_weight=np.eye(8)[2])
    found = results_of(get_framework("numpy"), p)
    np.testing.assert_array_equal(found["soft_weights"] != 0, (found["sources"] == 2) & _pairs(p)[None])
    takes_part = ((found["sources"] == 2) & _pairs(p)[None]).any(axis=(0, 1))
    np.testing.assert_array_equal(found["misaligned"] > 0, takes_part)
    assert takes_part[2]


def _pairs(p):
    return mc.pairing.pair_mask(mc.pairing.pair_classes(p.labels, mc.source_matrix(p.partners, 2)))


def test_confidence_of_label_vectors():
    # The geometric mean of the probabilities that the labels have, and the soft label is what stands in their place.
    z, y = np.log(np.array([[9.0, 1 / 3], [4.0, 1.0]])), np.array([[1, 0], [1, 1]])
    sources = mc.source_matrix(np.array([1, 0]), 2)
    state, targets = mc.MidasState(np.ones(2), np.array(0)), mc.Targets(y)
    found = mc.midas_objective(z, [z, z], np.zeros((2, 2, 2)), targets, sources, None, state)
    c = np.sqrt([0.9 * 0.75, 0.8 * 0.5])
    share = c / c.sum()
    np.testing.assert_allclose(found.soft_weights[:, 0, 0], share)
    np.testing.assert_allclose(found.soft_weights[:, 0, 1], share[::-1])
    np.testing.assert_allclose(found.terms.misaligned, np.log(2))
    # The gradient of the mixed logits is sigmoid - soft label, over C.
    closed = mc.midas_gradients(z, [z, z], np.zeros((2, 2, 2)), targets, sources, found.soft_weights)
    np.testing.assert_allclose(closed.mixed[0, 0], (0.5 - share @ y) / 2 / 2)


def test_jax_takes_targets_through_jit():
    framework = get_framework("jax")
    import jax

    p = problem(EVERYTHING, multi_label=True, dtype="float32")
    targets = mc.Targets(*map(framework.array, (p.labels, p.sample_weight, p.class_weights)), label_smoothing=0.1)
    rest = [framework.array(x) for x in (p.fused, *p.unimodal, p.mixed, mc.source_matrix(p.partners, 2), p.present)]

    def total(targets, fused, one, two, mixed, sources, present):
        state = mc.MidasState(jax.numpy.ones(2), jax.numpy.array(0))
        return mc.midas_objective(fused, [one, two], mixed, targets, sources, None, state, present=present).terms.total

    expected = results_of(get_framework("numpy"), replace(p, similarity=None, alpha=np.ones(2, "float32"), step=0))
    np.testing.assert_allclose(jax.jit(total)(targets, *rest), expected["total"], rtol=1e-5)
