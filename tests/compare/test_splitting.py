"""Splits of the user's samples: what holds of every one of them, and what cannot be split."""

import numpy as np
import pytest

from midas_core.compare.reading import make_features
from midas_core.compare.splitting import check_splits, count_splits, make_task, split_samples
from midas_core.data import DataError

RNG = np.random.default_rng(0)


def features(labels, **more):
    labels = np.asarray(labels)
    x = RNG.normal(size=(len(labels), 3)) + labels[:, None]
    return make_features({"audio": x, "text": x[:, :2] ** 2}, labels, **more)


UNEVEN = np.repeat([0, 1, 2], [60, 30, 10])
PEOPLE = RNG.permutation(np.arange(100) % 12)


@pytest.mark.parametrize("groups", [None, PEOPLE], ids=["samples", "groups"])
@pytest.mark.parametrize("first", [0, 5, 1000])
def test_nothing_is_on_two_sides_and_every_split_tests_others(groups, first):
    data = features(UNEVEN, groups=groups)
    tested = []
    for seed in range(first, first + count_splits(data)):
        parts = split_samples(data, seed)
        assert sorted(np.concatenate(parts)) == list(range(100))
        assert all(set(data.labels[part]) == {0, 1, 2} for part in parts)
        if groups is None:
            assert [np.bincount(data.labels[part]).tolist() for part in parts] == [[36, 18, 6], [12, 6, 2], [12, 6, 2]]
        else:
            people = [set(groups[part]) for part in parts]
            assert not (people[0] & people[1] | people[0] & people[2] | people[1] & people[2])
        # The seed chooses the samples that validate, never those of the test: tuning sees none of them.
        others = [split_samples(data, seed + i * count_splits(data)) for i in (1, 2)]
        for other in others:
            np.testing.assert_array_equal(parts[2], other[2])
        assert {*parts[1]} != {*others[0][1]} or {*parts[1]} != {*others[1][1]}
        tested.extend(parts[2])
    assert sorted(tested) == list(range(100))


def test_folds_are_respected():
    fold = np.repeat([0, 1, 2], [50, 30, 20])
    data = features(np.arange(100) % 2, fold=fold)
    assert count_splits(data) == 1
    for i, part in enumerate(split_samples(data, 3)):
        assert set(fold[part]) == {i}
    fold[fold == 1] = 0
    people = np.arange(100) // 10
    training, validation, test = split_samples(features(np.arange(100) % 2, fold=fold, groups=people), 3)
    assert set(fold[training]) == set(fold[validation]) == {0}
    assert set(fold[test]) == {2}
    assert not set(people[training]) & set(people[validation])


def test_no_group_that_holds_a_class_alone_validates():
    """Class 2 is of persons 0, 1, 2; one of them is tested, and no split trains without the class."""
    people = np.arange(120) % 12
    labels = np.where(people < 3, 2, np.arange(120) // 12 % 2)
    data = features(labels, groups=people)
    for seed in range(60):
        assert 2 in data.labels[split_samples(data, seed)[0]]


def test_many_samples_are_split_once_and_for_all():
    data = features(np.arange(2000) % 2)
    assert count_splits(data) == 1
    for a, b in zip(split_samples(data, 0), split_samples(data, 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_columns_have_the_scale_of_the_training_samples_and_missing_values_their_mean():
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, [3, 1, 1], size=(100, 3)), rng.normal(size=(100, 2))
    a[:, 1], a[4, 0], b[:, 1] = 7, np.nan, np.nan
    data = make_features({"a": a, "b": b}, np.arange(100) % 2, missing="zero")
    for seed in range(3):
        task = make_task(data, seed)
        where = task.training.origin["sample"]
        np.testing.assert_allclose(task.training.inputs[0][:, 0].mean(), 0, atol=1e-6)
        np.testing.assert_allclose(
            task.test.inputs[0][:, 2],
            (a[task.test.origin["sample"], 2] - a[where, 2].mean()) / a[where, 2].std(),
            rtol=1e-3,
        )
        assert {name: columns.tolist() for name, columns in task.constant_columns.items()} == {"a": [1], "b": [1]}
        for part in (task.training, task.validation, task.test):
            assert np.isfinite(part.inputs[0]).all()
            assert (part.inputs[0][part.origin["sample"] == 4, 0] == 0).all()
            np.testing.assert_array_equal(part.labels, part.origin["sample"] % 2)


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        (np.arange(78) % 26, {}, "expected 5 samples or more of every class, .* got 3 of class 0, .* 25 other classes"),
        (np.repeat([0, 1], [57, 3]), {}, "got 3 of class 1: leave such classes out"),
        (
            np.arange(60) % 2,
            {"groups": np.zeros(60)},
            "groups: expected three or more, to .*, got 1",
        ),
        (np.arange(60) % 2, {"groups": np.arange(60) % 2}, "groups: expected three or more"),
        (
            np.arange(60) // 20,
            {"groups": np.arange(60) // 10},
            "expected 3 groups or more of every class, .* got 2 of class 0",
        ),
        (np.arange(60) // 30, {"fold": np.repeat([0, 2], 30)}, "every class in the training samples .* got none of 1"),
        (np.arange(60) % 2, {"fold": np.repeat([0, 2], 30), "groups": np.repeat([0, 2], 30)}, "two or more in fold 0"),
    ],
)
def test_one_sentence_about_what_cannot_be_split(labels, more, said):
    with pytest.raises(DataError, match=said):
        check_splits(features(labels, **more))
