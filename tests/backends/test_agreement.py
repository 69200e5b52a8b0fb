"""Every backend matches the oracle, and every autograd the closed-form gradient.

Tolerance: 16 roundings of the problem's dtype times 1 + the largest logit (strategies.Problem.tolerance), relative to
the largest entry.
"""

import pytest
from hypothesis import given, settings

from midas_core.testing.checks import check_autograd, check_values
from midas_core.testing.problems import FEW_SHAPES, problems
from tests.frameworks import get_framework


@settings(max_examples=150)
@given(p=problems())
def test_values_numpy(p):
    check_values(get_framework("numpy"), p)


@settings(max_examples=20)
@given(p=problems(FEW_SHAPES))
def test_values(framework, p):
    check_values(framework, p)


@pytest.mark.gpu
@settings(max_examples=20)
@given(p=problems(FEW_SHAPES))
def test_values_cupy(p):
    check_values(get_framework("cupy"), p)


@settings(max_examples=15)
@given(p=problems(FEW_SHAPES))
def test_gradients(autograd, p):
    check_autograd(autograd, p)
