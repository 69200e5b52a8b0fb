"""Who is mixed with whom."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import midas_core as mc
from midas_core.pairing import draw_sources
from midas_core.partners import draw_partners, plain_permutation, random_count, split_draw

JUST_BELOW_ONE = np.float32(1 - 2.0**-24)
LABELS = {
    "balanced": np.repeat(np.arange(4), 4),
    "unbalanced": np.array([0] * 9 + [1] * 4 + [2] * 2 + [3]),
    "two classes": np.array([0, 1] * 6),
}


def partners_of(labels, modalities, rng):
    return draw_partners(labels, mc.draw(labels, modalities, rng).partners)


@settings(max_examples=300)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    modalities=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_partners_are_distinct_and_the_first_of_another_class_wherever_possible(labels, modalities, seed):
    labels = np.array(labels)
    partners = partners_of(labels, modalities, np.random.default_rng(seed))
    assert partners.shape == (modalities - 1, len(labels))
    if len(set(labels)) > 1:
        assert (labels[partners[0]] != labels).all()
    for i, column in enumerate(partners.T):
        assert len({i, *column}) == min(modalities, len(labels))


@pytest.mark.parametrize("modalities", [2, 3, 6])
@pytest.mark.parametrize("kind", LABELS)
def test_the_first_partner_is_uniform_over_the_samples_of_other_classes(kind, modalities):
    labels, rng, rounds = LABELS[kind], np.random.default_rng(0), 2000
    counts = np.zeros((len(labels),) * 2)
    for _ in range(rounds):
        np.add.at(counts, (np.arange(len(labels)), partners_of(labels, modalities, rng)[0]), 1)
    other = labels[:, None] != labels
    assert not counts[~other].any()
    expected = other * rounds / other.sum(axis=1, keepdims=True)
    # By pairs of samples, and summed up by pairs of classes; each sample uses one degree of freedom.
    assert chisquare(counts[other], expected[other], ddof=len(labels) - 1).pvalue > 0.001
    classes = np.eye(labels.max() + 1)[labels]
    by_class, expected = (classes.T @ x @ classes for x in (counts, expected))
    seen = expected > 0
    if seen.sum() > len(seen):
        assert chisquare(by_class[seen], expected[seen], ddof=len(seen) - 1).pvalue > 0.001


@pytest.mark.parametrize("modalities", [3, 6])
@pytest.mark.parametrize("kind", LABELS)
def test_further_partners_are_uniform_over_the_samples_that_do_not_take_part(kind, modalities):
    labels, rng, rounds = LABELS[kind], np.random.default_rng(1), 4000
    counts, expected = np.zeros((2, modalities - 2, len(labels), len(labels)))
    for _ in range(rounds):
        partners = partners_of(labels, modalities, rng)
        free = np.ones((len(labels),) * 2) - np.eye(len(labels))
        for k, row in enumerate(partners):
            if k:
                counts[k - 1][np.arange(len(labels)), row] += 1
                expected[k - 1] += free / free.sum(axis=1, keepdims=True)
            free[np.arange(len(labels)), row] = 0
    # What is free is given by who takes part: the conditional frequencies fit where every cell does.
    possible = expected > 5
    deviations = (counts - expected)[possible] / np.sqrt(expected[possible])
    assert not counts[expected == 0].any()
    assert abs(deviations).max() < 5
    assert (deviations**2).mean() == pytest.approx(1, abs=0.35)


def test_draws_of_different_samples_are_independent():
    labels, rng = np.repeat(np.arange(3), 2), np.random.default_rng(0)
    counts = np.zeros((6, 6))
    for _ in range(3000):
        first, second = partners_of(labels, 2, rng)[0, :2]
        counts[first, second] += 1
    assert chisquare(counts[2:, 2:].ravel()).pvalue > 0.001


def test_plain_permutation_takes_any_partner():
    rng = np.random.default_rng(0)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), mc.partners.plain_permutation(rng.random(4))] += 1
    np.testing.assert_allclose(counts, 1000, rtol=0.12)


@pytest.mark.parametrize("modalities", [3, 4])
def test_every_assignment_of_the_participants_comes_up(modalities):
    labels = np.arange(6)
    cycle = np.roll(labels, 1)
    seen = set()
    for seed in range(30):
        numbers = mc.draw(labels, modalities, seed)
        sources = mc.pairing.draw_sources(numbers, labels, modalities, permutation=cycle)
        # In one long cycle all participants are different samples: each supplies one modality.
        participants = (labels[:, None] - np.arange(modalities)) % 6
        for v in range(2):
            np.testing.assert_array_equal(np.sort(sources[:, v], axis=0), np.sort(participants.T, axis=0))
        assert (sources[:, 0] != sources[:, 1]).all()
        seen |= {tuple(-column % 6) for column in (sources[:, 0] - labels).T}
    assert len(seen) == math.factorial(modalities)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    modalities=st.integers(2, 4),
    variant=st.sampled_from(("paper", "official")),
    chosen=st.booleans(),
)
def test_the_same_numbers_give_the_same_pairs_on_all_backends(framework, seed, modalities, variant, chosen):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 9)
    numbers = mc.draw(labels, modalities, rng)
    own = mc.partners.Draw(*(None if x is None else framework.array(x) for x in numbers))
    permutation = np.roll(np.arange(9), 1)
    expected = mc.draw_pairs(numbers, labels, modalities, variant=variant, permutation=permutation if chosen else None)
    options = {"variant": variant, "permutation": framework.array(permutation) if chosen else None}
    found = mc.draw_pairs(own, framework.array(labels), modalities, **options, backend=framework.backend)
    for a, b in zip(found[:3], expected[:3], strict=True):
        # With the official variant all count, and there is no mask.
        np.testing.assert_array_equal(None if a is None else framework.numpy(a), b)


@pytest.mark.parametrize("labels", [[0], [1, 1], [0, 1], [0, 0, 1], [0] * 9 + [1] * 31])
def test_no_number_is_out_of_range(framework, labels):
    labels = np.array(labels)
    # Taken to half precision, a number next to one is one.
    half = [("float16", 1.0), ("float16", 0.0)] if "float16" in framework.half else []
    for dtype, value in (("float32", JUST_BELOW_ONE), ("float32", 0.0), ("float32", 1.0), *half):
        numbers = np.full((3, len(labels)), value, dtype)
        with framework.scope("float32"):
            found = draw_partners(framework.array(labels), framework.array(numbers), backend=framework.backend)
            found = framework.numpy(found)
        assert found.min() >= 0
        assert found.max() < len(labels)
        if len(set(labels)) > 1:
            assert (labels[found[0]] != labels).all()


def test_a_million_labels():
    labels = np.random.default_rng(0).integers(0, 50_000, 1_000_000)
    partners = partners_of(labels, 2, np.random.default_rng(1))[0]
    assert (labels[partners] != labels).all()
    # As many are met as of independent draws: 24 bits leave nobody out.
    assert len(np.unique(partners)) == pytest.approx((1 - math.exp(-1)) * 1e6, rel=0.01)


def test_labels_may_be_of_any_integer_dtype(framework):
    labels = np.array([0, 0, 1, 255])
    numbers = mc.draw(labels, 3, np.random.default_rng(0)).partners
    expected = draw_partners(labels, numbers)
    for dtype in ("int32", "uint8", "int64"):
        given_ = [framework.array(x) for x in (labels.astype(dtype), numbers)]
        np.testing.assert_array_equal(framework.numpy(draw_partners(*given_)), expected)


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_a_flat_vector_holds_the_numbers_of_a_step(framework, modalities):
    labels = np.arange(5)
    flat = np.arange(random_count(5, modalities), dtype=np.float32)
    bk = framework.backend
    found = [
        framework.numpy(x)
        for x in split_draw(framework.array(flat), framework.array(labels), modalities, backend=bk)
        if x is not None
    ]
    assert [x.shape for x in found] == [(modalities - 1, 5), (modalities, 5)][: len(found)]
    np.testing.assert_array_equal(np.concatenate([x.ravel() for x in found]), flat)


def test_a_permutation_is_followed_from_partner_to_partner():
    pi = np.array([1, 2, 3, 0])
    np.testing.assert_array_equal(mc.source_matrix(pi, 3), mc.source_matrix(np.stack([pi, pi[pi]]), 3))


def test_the_authors_code_takes_a_plain_permutation():
    labels = np.array([0, 1, 0, 1, 2])
    numbers = mc.draw(labels, 2, 0)
    sources = draw_sources(numbers, labels, 2, variant="official")
    np.testing.assert_array_equal(sources[1, 0], plain_permutation(numbers.partners[0]))
    paper = draw_sources(numbers, labels, 2)
    np.testing.assert_array_equal(paper, draw_sources(numbers, labels, 2, variant="paper"))
    np.testing.assert_array_equal(paper[1, 0], draw_partners(labels, numbers.partners)[0])
    with pytest.raises(ValueError, match="variant") as error:
        draw_sources(numbers, labels, 2, variant="papre")
    assert str(error.value) == "variant: expected one of ['paper', 'official'], got 'papre'"
