"""Samples that lack a modality."""

from dataclasses import replace

import numpy as np
import pytest

from midas_core.testing.checks import check_values
from midas_core.testing.problems import make_problem
from tests.steps import problem


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
