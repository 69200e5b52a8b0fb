"""Samples that lack a modality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import midas_core as mc
from midas_core.testing.checks import check_values, results_of
from midas_core.testing.problems import make_problem
from tests.frameworks import get_framework
from tests.steps import problem


@pytest.mark.parametrize("modalities", [2, 3])
def test_missing_modalities_by_hand(modalities):
    p = problem({"missing": 0.4}, modalities=modalities, label_kind="any")
    found = results_of(get_framework("numpy"), p)
    for v in range(2):
        for i in range(8):
            parts = found["sources"][:, v, i]
            whole = all(p.present[j, m] for m, j in enumerate(parts)) and len(set(p.labels[parts])) > 1
            assert (found["soft_weights"][:, v, i] > 0).all() == whole
    # The mean over the batch is the mean over the samples that have the modality.
    for m in range(modalities):
        here = p.present[:, m]
        own = -mc.log_confidence(p.unimodal[m][here], p.labels[here])
        assert found["unimodal"][m].mean() == pytest.approx(own.mean())
        assert (found["unimodal"][m][~here] == 0).all()


@pytest.mark.parametrize("missing", ["one modality", "everything"])
def test_nothing_there(framework, missing):
    p, present = problem(), np.zeros((8, 2), dtype=bool)
    if missing == "one modality":
        present[:, 0] = True
    p = replace(p, present=present)
    found = check_values(framework, p)
    assert np.isfinite(found["total"]).all()
    assert (found["unimodal"][1] == 0).all()
    assert (found["misaligned"] == 0).all()
    np.testing.assert_array_equal(found["next_alpha"], p.alpha)


P = make_problem(0, 4, 2, 3)


def test_the_authors_code_knows_no_missing_modality():
    sources, state = mc.source_matrix(P.partners, 2), mc.MidasState(P.alpha, np.array(0))
    with pytest.raises(ValueError, match="present: expected None with variant 'official'"):
        mc.midas_objective(
            *(P.fused, P.unimodal, P.mixed, P.labels, sources, None, state),
            present=np.ones((4, 2), dtype=bool),
            variant="official",
        )
