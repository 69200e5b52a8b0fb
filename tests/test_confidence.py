"""Confidences and soft labels (eq. 2, 3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import midas_core as mc
from midas_core.testing.checks import check_values
from midas_core.testing.problems import make_problem
from tests.steps import DOUBLE, assert_finite


@settings(max_examples=100)
@given(p=DOUBLE)
def test_soft_labels_sum_to_one_and_live_on_the_classes_that_take_part(p):
    sources = mc.source_matrix(p.partners, len(p.unimodal), p.assignment)
    log_c = np.stack([mc.log_confidence(z, p.labels) for z in p.unimodal])
    shares = mc.normalized_confidence(np.stack([row[s] for row, s in zip(log_c, sources, strict=True)]))
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
    assert (shares >= 0).all()
    classes = mc.pairs.pair_classes(p.labels, sources)
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
