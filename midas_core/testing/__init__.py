"""The properties that every backend has to hold, for test suites of your own: oracle, problems, checks.

`check_backend` is the one line; the rest is what it is made of.
"""

from midas_core.backends import require

require("hypothesis", "Hypothesis", "verify")

from midas_core.testing.backends import PropertyResult, check_backend, verify_backend
from midas_core.testing.checks import check_autograd, check_finite_differences, check_values
from midas_core.testing.framework import Framework
from midas_core.testing.frameworks import load_framework
from midas_core.testing.heads import check_head
from midas_core.testing.problems import Problem, make_problem, problems
from midas_core.testing.properties import PROPERTIES, Property

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
