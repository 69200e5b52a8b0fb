"""The objective where warm-up is a value of the traced step: one computation, chosen by ``where``."""

from __future__ import annotations

import numpy as np
import pytest

import midas_core as mc
from tests.frameworks import get_framework

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


def test_nothing_comes_back_from_fused_logits_that_warm_up_does_not_look_at():
    framework = get_framework("torch")
    import torch

    fused, mixed = torch.full((BATCH, CLASSES), torch.inf), torch.full((2, BATCH, CLASSES), torch.nan)
    logits = [torch.tensor(z) for z in LOGITS[:2]]
    for x in (fused, mixed, *logits):
        x.requires_grad_()
    state = mc.MidasState(torch.ones(2), torch.tensor(0))
    given = (fused, logits, mixed, torch.tensor(LABELS), torch.tensor(SOURCES), None, state)
    found = mc.midas_objective(*given, warmup=torch.tensor(True), backend=framework.backend)
    found.terms.total.sum().backward()
    assert not fused.grad.any()
    assert not mixed.grad.any()
    assert all(z.grad.isfinite().all() and z.grad.any() for z in logits)
    assert found.terms.confidence.sum() == pytest.approx(1)
