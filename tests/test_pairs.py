"""Pairs: classes of the parts, what counts, and label vectors as classes."""

from __future__ import annotations

import numpy as np
import pytest

from midas_core.misalignment import Draw, draw, draw_sources, source_matrix
from midas_core.pairs import (
    Pairs,
    as_pairs,
    draw_pairs,
    label_ids,
    make_pairs,
    pair_classes,
    pair_mask,
    source_matrix_of,
)
from tests.frameworks import get_framework

LABELS = np.array([0, 2, 2, 1, 0])
PERMUTATION = np.array([1, 2, 3, 4, 0])
NUMPY = get_framework("numpy").backend


def test_classes_and_mask(framework):
    for modalities in (2, 3):
        sources = source_matrix(PERMUTATION, modalities)
        with framework.scope("float64"):
            own = framework.array(LABELS), framework.array(sources)
            found = Pairs(*map(framework.numpy, make_pairs(*own)[:3]))
            official = make_pairs(*own, variant="official", backend=framework.backend)
            assert framework.numpy(official.mask).all()
        classes = LABELS[sources]
        np.testing.assert_array_equal(found.sources, sources)
        np.testing.assert_array_equal(found.classes, classes)
        np.testing.assert_array_equal(
            found.mask, [[len(set(column)) > 1 for column in v.T] for v in classes.swapaxes(0, 1)]
        )
        assert found.mask.all() == (modalities == 3)
        np.testing.assert_array_equal(framework.numpy(official.classes), classes)


def test_the_mask_takes_every_modality_into_account(framework):
    classes = np.array([[[1, 1, 1]], [[1, 1, 2]], [[1, 3, 1]]])
    np.testing.assert_array_equal(framework.numpy(pair_mask(framework.array(classes))), [[False, True, True]])


def test_label_vectors_are_classes_of_their_own(framework):
    rows = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
    ids = framework.numpy(label_ids(framework.array(rows)))
    np.testing.assert_array_equal(ids, [2, 1, 2, 3])
    sources = source_matrix(np.array([2, 0, 3, 1]), 2)
    found = make_pairs(framework.array(rows), framework.array(sources))
    np.testing.assert_array_equal(framework.numpy(found.mask), [[False, True, True, True]] * 2)
    np.testing.assert_array_equal(framework.numpy(found.classes), ids[sources])


def test_vectors_that_differ_in_one_class_of_many():
    rows = np.zeros((3, 2000), dtype=int)
    rows[1, 7] = rows[2, 8] = 1
    assert label_ids(rows).tolist() == [0, 1, 2]
    assert label_ids(rows[[1, 1, 0]] | rows[[2, 2, 2]]).tolist() == [1, 1, 2]


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_draws(framework, modalities, variant):
    numbers = draw(LABELS, modalities, 0)
    own = Draw(*(None if x is None else framework.array(x) for x in numbers))
    labels = framework.array(LABELS)
    found = draw_pairs(own, labels, modalities, variant=variant, backend=framework.backend)
    sources = draw_sources(numbers, LABELS, modalities, variant=variant)
    np.testing.assert_array_equal(framework.numpy(found.sources), sources)
    np.testing.assert_array_equal(framework.numpy(found.classes), LABELS[sources])
    assert framework.numpy(found.mask).all()
    given = draw_pairs(own, labels, modalities, variant=variant, permutation=framework.array(PERMUTATION))
    expected = draw_sources(numbers, LABELS, modalities, permutation=PERMUTATION)
    np.testing.assert_array_equal(framework.numpy(given.sources), expected)


def test_draws_for_label_vectors():
    rows = np.eye(3, dtype=int)[LABELS]
    numbers = draw(rows, 2, 0)
    found = draw_pairs(numbers, rows, 2)
    assert found.mask.all()
    assert (rows[found.sources[0]] != rows[found.sources[1]]).any(axis=-1).all()
    np.testing.assert_array_equal(found.classes, label_ids(rows)[found.sources])


def test_what_is_given_is_taken():
    sources = source_matrix(PERMUTATION, 2)
    pairs = make_pairs(LABELS, sources)
    assert as_pairs(LABELS, pairs, "official", NUMPY) is pairs
    assert source_matrix_of(pairs) is pairs.sources
    assert source_matrix_of(sources) is sources
    assert as_pairs(LABELS, sources, "official", NUMPY).mask.all()
    np.testing.assert_array_equal(as_pairs(LABELS, sources, "paper", NUMPY).mask, pairs.mask)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant") as error:
        make_pairs(LABELS, source_matrix(PERMUTATION, 2), variant="papre")
    assert str(error.value) == "variant: expected one of ['paper', 'official'], got 'papre'"


def test_classes_of_any_integer_dtype_are_indices(framework):
    sources = framework.array(source_matrix(PERMUTATION, 2))
    for dtype in ("int32", "uint8"):
        found = pair_classes(framework.array(LABELS.astype(dtype)), sources)
        assert found.dtype == sources.dtype
    with pytest.raises(ValueError, match="labels") as error:
        label_ids(LABELS)
    assert str(error.value) == "labels: expected shape (B, C) = (?, ?), got (5,)"
