"""Intervals, corrections and ranks, beside other libraries."""

import math

import numpy as np
import pytest
from scipy import stats

from midas_core.compare.statistics import Estimate, beyond_noise, estimate


def test_the_interval_of_runs_with_one_test_is_students():
    values = [1.0, 2.5, 2.0, 3.0]
    expected = stats.ttest_1samp(values, 0)
    found, interval = estimate(values), expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (interval.low, interval.high)
    )


def test_over_splits_the_variance_is_that_of_nadeau_and_bengio():
    values = np.array([1.0, 2.5, 2.0, 3.0, 0.5])
    error = math.sqrt((1 / 5 + 25 / 75) * values.var(ddof=1))
    found = estimate(values.tolist(), splits=4)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(values.mean() / error, 4))


def test_a_single_run_has_no_interval_and_is_never_beyond_noise():
    assert math.isnan(estimate([3.0]).half_width)
    assert str(estimate([3.0])) == "3.0"
    assert beyond_noise({"a": estimate([3.0])}) == {"a": False}


def test_runs_that_do_not_differ_are_no_difference():
    assert estimate([0.0, 0.0]).p_value == 1
    assert estimate([1.0, 1.0]).p_value == 0


def test_holm_stops_at_the_first_that_fails():
    p_values = {"a": 0.012, "b": 0.03, "c": 0.04, "d": 0.9}
    found = beyond_noise({name: Estimate(1, 1, p) for name, p in p_values.items()})
    assert found == {"a": True, "b": False, "c": False, "d": False}
