"""The data sets: shapes, scaling, and splits that share nothing."""

import numpy as np
import pytest

from midas_core.data import Split, Task
from midas_core.data.base import split_indices, standardize
from midas_core.data.breast_cancer import breast_cancer
from midas_core.data.digits import halves, two_sensors, wide_left

TASKS = [
    (halves, (32, 32), 400),
    (wide_left, (288, 32), 300),
    (two_sensors, (16, 576), 300),
    (breast_cancer, (10, 10, 10), 250),
]


@pytest.mark.parametrize(("make", "widths", "training"), TASKS)
def test_task_is_well_formed(make, widths, training):
    task = make(0)
    assert len(task.modalities) == len(widths)
    assert len(task.training) == training
    for split in (task.training, task.validation, task.test):
        assert tuple(view.shape for view in split.inputs) == tuple((len(split), width) for width in widths)
        assert all(view.dtype == np.float32 for view in split.inputs)
        assert set(split.labels) == set(range(task.num_classes))


@pytest.mark.parametrize(("make", "widths", "training"), TASKS)
def test_splits_share_nothing(make, widths, training):
    task = make(3)
    (kind,) = task.training.origin
    used = np.concatenate([s.origin[kind] for s in (task.training, task.validation, task.test)])
    assert len(np.unique(used)) == len(used)


@pytest.mark.parametrize(("make", "widths", "training"), TASKS)
def test_seed_changes_all_but_the_test_samples(make, widths, training):
    first, second = make(0), make(1)
    (kind,) = first.test.origin
    np.testing.assert_array_equal(first.test.origin[kind], second.test.origin[kind])
    assert set(first.training.origin[kind]) != set(second.training.origin[kind])


def test_same_seed_same_data():
    for a, b in zip(two_sensors(5).training.inputs, two_sensors(5).training.inputs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_sensors_have_one_scale_each():
    for view in two_sensors(0).training.inputs:
        assert abs(view.mean()) < 1e-5
        assert view.std() == pytest.approx(1, abs=1e-5)


def test_standardize_takes_the_numbers_of_the_training_data():
    training = Split((np.array([[0.0, 0.0], [2.0, 4.0]], dtype=np.float32),), np.array([0, 1]))
    other = Split((np.array([[1.0, 6.0]], dtype=np.float32),), np.array([0]))
    assert standardize(training, other, axis=0)[1].inputs[0].tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, 1e-30])
def test_what_is_constant_in_training_becomes_zero_everywhere(axis, value):
    """Divided by its standard deviation, rounding alone made 5e9 of it in the other splits."""
    constant = np.full((300, 1), value, dtype=np.float32)
    training = Split((constant, np.linspace(-1, 1, 300, dtype=np.float32)[:, None]), np.zeros(300, dtype=np.int64))
    other = Split((constant + 3, np.ones((300, 1), dtype=np.float32)), training.labels)
    splits = standardize(training, other, axis=axis)
    assert [np.abs(split.inputs[0]).max() for split in splits] == [0, 0]
    assert splits[1].inputs[1][0] == pytest.approx(1 / training.inputs[1].std(), rel=1e-5)
    task = Task(("a", "b"), 1, *splits, splits[1])
    assert {name: columns.tolist() for name, columns in task.constant_columns.items()} == {"a": [0]}


def test_what_hardly_varies_in_training_does_not_explode_either():
    training = Split((np.r_[np.zeros(399), 1e-3].astype(np.float32)[:, None],), np.zeros(400, dtype=np.int64))
    other = Split((np.array([[1.0], [-1.0], [np.nan]], dtype=np.float32),), np.zeros(3, dtype=np.int64))
    np.testing.assert_array_equal(standardize(training, other, axis=0)[1].inputs[0].ravel(), [10, -10, np.nan])


def test_split_indices_keep_the_shares_of_the_classes():
    labels = np.repeat([0, 1], [80, 20])
    for chosen, size in zip(split_indices(labels, (50, 20, 20), 0), (50, 20, 20), strict=True):
        assert len(chosen) == size
        assert labels[chosen].mean() == pytest.approx(0.2, abs=0.03)
