"""The loops that Numba compiles."""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import pytest
from hypothesis import given, settings

pytest.importorskip("torch")
pytest.importorskip("numba")

import midas_core.kernels.numba as loops
from tests.kernels.problems import check_equal, make_problem, problems


@settings(max_examples=30)
@given(problems())
def test_the_loops_give_the_same_uncompiled(problem):
    p, given = problem
    with ExitStack() as stack:
        for name, loop in vars(loops).items():
            if hasattr(loop, "py_func"):
                stack.enter_context(mock.patch.object(loops, name, loop.py_func))
        check_equal(p, p.linear, **given)


# Of each loop the place of an argument that it writes.
OUTPUTS = {"cosines": 2, "lowered_": 6, "normalized_": 4, "weighed_losses_": -1, "gradient_": -1}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_broken_loop_is_noticed(name):
    p, loop = make_problem(), getattr(loops, name)

    def broken(*given):
        found = loop(*given)
        given[OUTPUTS[name]][:] *= -1
        return found

    with mock.patch.object(loops, name, broken), pytest.raises(AssertionError):
        check_equal(p, p.linear)
