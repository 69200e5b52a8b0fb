"""Property tests of every backend against an oracle in plain Python, for test suites of users too.

`check_backend` checks a backend in one line; the other names are its parts.
"""

from midas_core.backends import require

require("hypothesis", "Hypothesis", "verify")

from midas_core.testing.checks import check_autograd, check_finite_differences, check_values
from midas_core.testing.framework import Framework, load_framework
from midas_core.testing.heads import check_head
from midas_core.testing.problems import Problem, make_problem, problems
from midas_core.testing.properties import PROPERTIES, Property
from midas_core.testing.verification import PropertyResult, check_backend, verify_backend

__all__ = [
    "PROPERTIES",
    "Framework",
    "Problem",
    "Property",
    "PropertyResult",
    "check_autograd",
    "check_backend",
    "check_finite_differences",
    "check_head",
    "check_values",
    "load_framework",
    "make_problem",
    "problems",
    "verify_backend",
]
