"""The loops that Numba compiles."""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from contextlib import ExitStack
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("numba")

import numba

import midas_core.kernels.numba as loops
from midas_core.kernels.numba import Compiled
from midas_core.weighting import LOG_UNDERFLOW, MidasState, weigh_pairs
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
OUTPUTS = {"cosines": 2, "lowered_": 7, "normalized_": 5, "weighed_losses_": -1, "gradient_": -1}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_broken_loop_is_noticed(name):
    p, loop = make_problem(), getattr(loops, name)

    def broken(*given):
        found = loop(*given)
        given[OUTPUTS[name]][:] *= -1
        return found

    with mock.patch.object(loops, name, broken), pytest.raises(AssertionError):
        check_equal(p, p.linear)


LOGS = st.sampled_from((-0.1, -0.5, -3.0, -700.0, LOG_UNDERFLOW + 0.1, LOG_UNDERFLOW - 0.1, -800.0, -np.inf, np.nan))


@st.composite
def log_confidences(draw):
    """Return what `weigh_pairs` takes of a small batch, extreme values among it."""
    modalities, batch = draw(st.integers(2, 3)), draw(st.integers(1, 4))
    shape = (modalities, 2, batch)
    size = math.prod(shape)
    logs = [np.array(draw(st.lists(LOGS, min_size=size, max_size=size))).reshape(shape) for _ in range(2)]
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    alpha = np.ones(modalities)
    alpha[rng.integers(modalities)] = draw(st.sampled_from((1.0, 1.3, 1.5)))
    return (
        np.ascontiguousarray(logs[0][:, 0]),
        logs[1],
        rng.random((2, batch)) < 0.8,
        rng.integers(batch, size=shape),
        rng.uniform(-1, 1, (2, batch)),
        MidasState(alpha, np.array(draw(st.integers(0, 1)))),
    )


@settings(max_examples=300)
@given(
    log_confidences(),
    st.sampled_from((0.0, 0.05, 0.5)),
    st.sampled_from(("sign", "difference")),
    st.sampled_from((None, 1.5, 1.52)),
)
def test_pairs_weigh_what_the_core_says(known, eta, update, cap):
    own, mixed, mask, sources, similarities, state = known
    with np.errstate(all="ignore"):
        expected = weigh_pairs(*known, eta=eta, alpha_update=update, max_alpha=cap)
    soft_weights, after, means = np.empty_like(mixed), np.empty_like(state.alpha), np.empty((3, len(own)))
    rule = (eta, update == "sign", np.inf if cap is None else cap)
    moved = loops.weighed_(
        own, mixed, mask, sources, similarities, state.alpha, state.step == 0, *rule, soft_weights, after, means
    )
    np.testing.assert_allclose(soft_weights, expected.soft_weights, rtol=1e-12, atol=1e-300)
    for found, name in zip(means, ("alpha", "confidence", "fused_confidence"), strict=True):
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-12, atol=1e-300, err_msg=name)
    assert moved == (expected.state.step > state.step)
    # Where the sums of both means are equal, rounding decides on the sign.
    gap = expected.confidence - expected.fused_confidence
    if update == "difference" or np.abs(gap).min() > 1e-12:
        np.testing.assert_allclose(after, expected.state.alpha, rtol=1e-12)


LOOP = """
def double(x):
    return 2 * x


def triple(x):
    return 3 * x
"""


@pytest.fixture
def loop_module(tmp_path, monkeypatch):
    """Return a function that imports a module of two loops, new each time, whose cache lies in ``tmp_path``."""
    monkeypatch.setattr(loops, "_warned", False)
    path = tmp_path / "loops_on_disk.py"
    path.write_text(LOOP)

    def load():
        spec = importlib.util.spec_from_file_location("loops_on_disk", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "loops_on_disk", module)
        spec.loader.exec_module(module)
        return Compiled(module.double), Compiled(module.triple)

    return load


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
def test_a_damaged_cache_is_done_without_and_said_once(loop_module, tmp_path, kind):
    for loop in loop_module():
        loop(1)
    files = list(tmp_path.rglob(kind))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    double, triple = loop_module()
    with pytest.warns(RuntimeWarning, match="cache of compiled functions cannot be used.*NUMBA_CACHE_DIR") as told:
        assert (double(2), triple(2)) == (4, 6)
    assert len(told) == 1
    assert double(3) == 6


def test_a_full_disk_is_done_without_and_said(loop_module):
    full = OSError(28, "No space left on device")
    with (
        mock.patch("numba.core.caching.Cache.save_overload", side_effect=full),
        pytest.warns(RuntimeWarning, match="No space left"),
    ):
        assert loop_module()[0](2) == 4


def test_where_no_folder_can_be_written_to_nothing_is_said(loop_module):
    with (
        mock.patch("numba.core.caching._CacheLocator.ensure_cache_path", side_effect=PermissionError),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        assert loop_module()[0](2) == 4


def test_an_error_of_the_loop_itself_is_raised(loop_module):
    double, _ = loop_module()
    with pytest.raises(numba.TypingError):
        double(object())
