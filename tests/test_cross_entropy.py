"""The losses at the label, in all their options (eq. 9), and their precision."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from midas_core.testing.checks import check_values, results_of
from midas_core.testing.problems import make_problem
from tests.frameworks import get_framework
from tests.steps import DOUBLE, assert_finite, clear_decision, close, problem, run


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
