"""A step of the core for a test: run on NumPy, compared, judged."""

import numpy as np

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


def clear_decision(p, out):
    """Whether no rounding can turn the choice of the weak modality or the sign of the gap."""
    return len(list(oracle.steps_within_rounding(p.lists(), p.tolerance))) <= 2


def assert_finite(found):
    for name, x in found.items():
        assert np.isfinite(x).all(), f"{name} is not finite: {x}"


def problem(options=None, multi_label=False, modalities=2, **more):
    return make_problem(4, 8, modalities, 3, alpha=1.5, multi_label=multi_label, **(options or {}), **more)
