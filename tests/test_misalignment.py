"""Who is paired with whom."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import midas_core as mc
from midas_core.testing import oracle

JUST_BELOW_ONE = np.float32(1 - 2.0**-24)


def pair(labels, rng, num_classes=None):
    numbers = mc.draw(labels, num_classes or int(labels.max()) + 1, 2, rng)
    return mc.different_class_permutation(labels, numbers.samples, numbers.classes, numbers.rotation)


@settings(max_examples=300)
@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=40), seed=st.integers(0, 2**32 - 1))
def test_pairs_are_a_permutation_of_different_classes_wherever_possible(labels, seed):
    permutation = pair(np.array(labels), np.random.default_rng(seed), 7)
    assert oracle.is_valid_pairing(labels, permutation.tolist())


@pytest.mark.parametrize("labels", [[0], [3, 3, 3], [0, 1], [0, 0, 1], [0, 0, 0, 1, 1, 1], [2, 2, 2, 0, 1]])
def test_small_batches(labels):
    for seed in range(20):
        permutation = pair(np.array(labels), np.random.default_rng(seed))
        assert oracle.is_valid_pairing(labels, permutation.tolist())
        mask = mc.pair_mask(mc.pair_classes(np.array(labels), mc.source_matrix(permutation, 2)))
        assert (~mask).sum() == 2 * oracle.fewest_same_class(labels)


def test_every_partner_of_another_class_comes_up_about_equally_often():
    labels = np.array([0, 0, 1, 1, 2, 2])
    rng = np.random.default_rng(0)
    counts = np.zeros((6, 6))
    for _ in range(6000):
        counts[np.arange(6), pair(labels, rng)] += 1
    expected = 6000 / 4
    other = labels[:, None] != labels
    assert not counts[~other].any()
    # The count of a cell has a standard deviation of about 34 in 1500.
    np.testing.assert_allclose(counts[other], expected, rtol=0.12)


def test_plain_permutation_takes_any_partner():
    rng = np.random.default_rng(0)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), mc.plain_permutation(rng.random(4))] += 1
    np.testing.assert_allclose(counts, 1000, rtol=0.12)


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_two_classes_or_more_take_part(modalities):
    rng = np.random.default_rng(1)
    for _ in range(50):
        labels = rng.permutation(np.repeat(np.arange(4), 3))
        sources = mc.draw_sources(mc.draw(labels, 4, modalities, rng), labels, modalities)
        assert mc.pair_mask(mc.pair_classes(labels, sources)).all()


@pytest.mark.parametrize("modalities", [3, 4])
def test_every_assignment_of_the_participants_comes_up(modalities):
    labels = np.arange(6)
    cycle = np.roll(labels, 1)
    seen = set()
    for seed in range(30):
        numbers = mc.draw(labels, 6, modalities, seed)
        sources = mc.draw_sources(numbers, labels, modalities, permutation=cycle)
        # In one long cycle all participants are different samples: each supplies one modality.
        participants = (labels[:, None] - np.arange(modalities)) % 6
        for v in range(2):
            np.testing.assert_array_equal(np.sort(sources[:, v], axis=0), np.sort(participants.T, axis=0))
        assert (sources[:, 0] != sources[:, 1]).all()
        seen |= {tuple(-column % 6) for column in (sources[:, 0] - labels).T}
    assert len(seen) == math.factorial(modalities)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), modalities=st.integers(2, 4), ties=st.booleans())
def test_the_same_numbers_give_the_same_pairs_on_all_backends(framework, seed, modalities, ties):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 9)
    numbers = mc.draw(labels, 3, modalities, rng)
    if ties:
        numbers = numbers._replace(samples=np.round(numbers.samples, 1), classes=np.round(numbers.classes))
    expected = mc.draw_sources(numbers, labels, modalities)
    own = mc.Draw(*(None if x is None else framework.array(x) for x in numbers))
    found = mc.draw_sources(own, framework.array(labels), modalities, backend=framework.backend)
    np.testing.assert_array_equal(framework.numpy(found), expected)
    plain = mc.draw_sources(own, framework.array(labels), modalities, variant="official")
    np.testing.assert_array_equal(
        framework.numpy(plain), mc.draw_sources(numbers, labels, modalities, variant="official")
    )


def test_rounding_never_mixes_two_classes(framework):
    # Many classes and keys next to 1: the worst case of a rank plus a key in float32.
    classes, batch = 50_000, 2_000
    labels = np.sort(np.random.default_rng(0).integers(0, classes, batch // 2)).repeat(2)
    keys = np.where(np.arange(batch) % 3 == 0, JUST_BELOW_ONE, 0).astype(np.float32)
    class_keys = np.linspace(0, JUST_BELOW_ONE, classes, dtype=np.float32)
    for rotation in (0.0, 0.5, JUST_BELOW_ONE):
        numbers = [framework.array(x) for x in (labels, keys, class_keys, np.float32(rotation))]
        permutation = framework.numpy(mc.different_class_permutation(*numbers, backend=framework.backend))
        assert oracle.is_valid_pairing(labels.tolist(), permutation.tolist())


def test_labels_may_be_of_any_integer_dtype(framework):
    labels = np.array([0, 0, 1, 2])
    numbers = [x for x in mc.draw(labels, 3, 2, np.random.default_rng(0)) if x is not None]
    expected = mc.different_class_permutation(labels, *numbers)
    for dtype in ("int32", "uint8"):
        given_ = [framework.array(x) for x in (labels.astype(dtype), *numbers)]
        np.testing.assert_array_equal(framework.numpy(mc.different_class_permutation(*given_)), expected)


def test_mix_gathers_every_modality_by_its_own_row(framework):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(4, 2)), rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 1))]
    permutation, assignment = np.array([1, 2, 3, 0]), np.argsort(rng.random((3, 4)), axis=0)
    with framework.scope("float64"):
        sources = mc.source_matrix(framework.array(permutation), 3, framework.array(assignment))
        mixed = [framework.numpy(x) for x in mc.mix([framework.array(f) for f in features], sources)]
    rows = oracle.source_matrix(permutation.tolist(), 3, assignment.tolist())
    for m in range(3):
        for v in range(2):
            np.testing.assert_array_equal(mixed[m][v], features[m][rows[m][v]])


def test_errors():
    keys = np.zeros(3)
    with pytest.raises(TypeError, match="labels: expected class indices of an integer dtype, got float64"):
        mc.different_class_permutation(np.zeros(3), keys, keys, np.array(0.0))
    with pytest.raises(ValueError, match=r"sample_keys: expected shape \(B,\) = \(2,\), got \(3,\)"):
        mc.different_class_permutation(np.array([0, 1]), keys, keys, np.array(0.0))
    with pytest.raises(ValueError, match="num_modalities: expected a whole number >= 2, got 1"):
        mc.source_matrix(np.array([0]), 1)
    with pytest.raises(ValueError, match="features: expected 2 modalities, got 3"):
        mc.mix([keys, keys, keys], mc.source_matrix(np.array([1, 0, 2]), 2))
    with pytest.raises(ValueError, match="assignment: expected shape"):
        mc.source_matrix(np.array([1, 0]), 3, np.zeros((2, 2), int))
