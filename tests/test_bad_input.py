"""Bad input to the core: the error names the argument, what was expected and what came."""

from __future__ import annotations

import numpy as np
import pytest

import midas_core as mc
from midas_core.testing.problems import make_problem

P = make_problem(0, 4, 2, 3)
SOURCES = mc.source_matrix(P.partners, 2)
GOOD = {
    "fused_logits": P.fused,
    "unimodal_logits": P.unimodal,
    "mixed_logits": P.mixed,
    "labels": P.labels,
    "sources": SOURCES,
}

ERRORS = [
    ({"labels": P.labels.astype(float)}, TypeError, "labels: expected class indices of an integer dtype, got float64"),
    ({"labels": P.labels[:, None]}, ValueError, r"labels: expected shape \(B,\), got \(4, 1\)"),
    ({"fused_logits": P.fused[:3]}, ValueError, r"fused_logits: expected shape \(B, C\) = \(4, \?\), got \(3, 3\)"),
    ({"fused_logits": P.fused.astype(int)}, TypeError, "fused_logits: expected a real floating dtype, got int64"),
    ({"unimodal_logits": P.unimodal[:1]}, ValueError, "unimodal_logits: expected two or more modalities, got 1"),
    (
        {"unimodal_logits": [P.unimodal[0], P.unimodal[1][:, :2]]},
        ValueError,
        r"unimodal_logits\[1\]: expected shape \(B, C\) = \(4, 3\), got \(4, 2\)",
    ),
    ({"unimodal_logits": P.unimodal * 2}, ValueError, r"sources: expected shape \(M, V, B\) = \(4, 2, 4\), got \(2, 2"),
    ({"mixed_logits": P.fused}, ValueError, r"mixed_logits: expected shape \(V, B, C\) = \(2, 4, 3\), got \(4, 3\)"),
    ({"mixed_logits": P.mixed.astype(int)}, TypeError, "mixed_logits: expected a real floating dtype, got int64"),
    ({"sources": SOURCES[:, :, :3]}, ValueError, r"sources: expected shape \(M, V, B\) = \(2, 2, 4\), got \(2, 2, 3\)"),
]


@pytest.mark.parametrize(("change", "kind", "message"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_objective_and_gradients(change, kind, message):
    given = (GOOD | change).values()
    state = mc.MidasState(P.alpha, np.array(0))
    with pytest.raises(kind, match=message):
        mc.midas_objective(*given, None, state)
    with pytest.raises(kind, match=message):
        mc.midas_gradients(*given, np.zeros((2, 2, 4)))


def test_options_of_the_objective():
    state = mc.MidasState(P.alpha, np.array(0))
    with pytest.raises(ValueError, match=r"variant: expected one of \['paper', 'official'\], got 'papre'"):
        mc.midas_objective(*GOOD.values(), None, state, variant="papre")
    with pytest.raises(ValueError, match=r"alpha_update: expected one of \['sign', 'difference'\], got 'signs'"):
        mc.midas_objective(*GOOD.values(), None, state, alpha_update="signs")
    three = make_problem(0, 4, 3, 3)
    sources = mc.source_matrix(three.partners, 3)
    with pytest.raises(ValueError, match="variant: 'official' is defined for 2 modalities only, got 3"):
        mc.midas_objective(
            three.fused, three.unimodal, three.mixed, three.labels, sources, None, state, variant="official"
        )


def test_parts():
    with pytest.raises(ValueError, match=r"classes: expected shape logits.shape\[:-1\] = \(4,\), got \(3,\)"):
        mc.log_confidence(P.fused, P.labels[:3])
    with pytest.raises(ValueError, match=r"classes: expected shape shares\.shape"):
        mc.soft_labels(np.ones((2, 3)), np.zeros((2, 4), int), 3)
    with pytest.raises(ValueError, match=r"similarity: expected one of \['cosine', 'l2'\], got 'dot'"):
        mc.similarity(P.features, SOURCES, "dot")
    with pytest.raises(ValueError, match="features: expected 2 modalities, got 1"):
        mc.similarity(P.features[:1], SOURCES)
    numbers = mc.draw(P.labels, 2, 0)
    with pytest.raises(ValueError, match=r"permutation: expected shape \(B,\) = \(4,\), got \(3,\)"):
        mc.draw_sources(numbers, P.labels, 2, permutation=P.partners[0, :3])
    with pytest.raises(TypeError, match="permutation: expected an integer dtype, got float64"):
        mc.draw_sources(numbers, P.labels, 2, permutation=P.partners[0].astype(float))
