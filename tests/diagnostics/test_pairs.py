"""Misaligned samples of a split: how sure what is measured on them is."""

import numpy as np
import pytest

from midas_core.diagnostics.pairs import in_top, misaligned_chance, misaligned_interval, misaligned_pairs

CLASSES = 8


def samples(rng, count, modalities, spread):
    """Draw labels and what each modality adds to the logits (M, N, C), the samples of unlike strength."""
    labels = rng.integers(CLASSES, size=count)
    evidence = rng.normal(size=(modalities, count, CLASSES))
    strength = np.linspace(2, 4, modalities)[:, None] * np.exp(spread * rng.normal(size=(modalities, count)))
    evidence[:, np.arange(count), labels] += strength
    return labels, evidence


def hits_of(evidence, pairs):
    return in_top(sum(each[rows] for each, rows in zip(evidence, pairs.sources, strict=True)), pairs.classes)


@pytest.mark.parametrize("modalities", [2, 3, 6])
@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_the_interval_covers(modalities, spread):
    rng, count, rounds = np.random.default_rng(0), 150, 200
    labels, evidence = samples(rng, 20_000, modalities, spread)
    truth = hits_of(evidence, pairs := misaligned_pairs(labels, modalities, rounds=2)).mean()
    covered = binomial = 0
    for seed in range(rounds):
        labels, evidence = samples(rng, count, modalities, spread)
        pairs = misaligned_pairs(labels, modalities, rounds=4, seed=seed)
        hits = hits_of(evidence, pairs)
        low, high = misaligned_interval(hits, pairs, count)
        covered += low <= truth <= high
        binomial += abs(hits.mean() - truth) <= 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / hits.size)
    assert 0.9 <= covered / rounds <= 0.99
    # As if each pair were a sample of its own.
    assert binomial < covered


@pytest.mark.parametrize("modalities", [2, 3, 6])
def test_another_draw_hardly_moves_the_misaligned_accuracy(modalities):
    labels, evidence = samples(np.random.default_rng(1), 400, modalities, 1.0)
    found = [hits_of(evidence, misaligned_pairs(labels, modalities, seed=seed)).mean() for seed in range(20)]
    # A tenth of a standard error of the samples, or so.
    assert np.std(found) < 0.01
    assert np.ptp(found) < 0.03


@pytest.mark.parametrize("right", [False, True])
def test_the_interval_of_all_or_nothing(right):
    labels = np.arange(100) % 4
    pairs = misaligned_pairs(labels, 2)
    low, high = misaligned_interval(np.full(pairs.base.shape, right), pairs, 100)
    assert (low, high) == pytest.approx((0.929, 1.0) if right else (0.0, 0.071), abs=0.001)


def test_without_pairs():
    pairs = misaligned_pairs(np.zeros(5, int), 2)
    assert np.isnan(misaligned_interval(np.zeros(0, bool), pairs, 5)).all()


def test_chance_is_that_of_the_most_frequent_classes():
    labels = np.arange(1000) % 10
    assert misaligned_chance(labels, misaligned_pairs(labels, 2).classes) == pytest.approx(1 / 45, abs=0.004)
    labels = np.repeat([5, 1, 0], [60, 30, 10])
    classes = misaligned_pairs(labels, 2).classes
    expected = np.mean([{a, b} == {5, 1} for a, b in classes.T])
    assert misaligned_chance(labels, classes) == expected > 0.5
