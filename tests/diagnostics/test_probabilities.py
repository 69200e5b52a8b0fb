"""Models that end in a softmax: their rows are told from logits."""

import numpy as np
import pytest

from midas_core.validation import are_probabilities


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_told_from_logits(dtype):
    logits = np.random.default_rng(0).normal(size=(50, 6))
    rows = softmax(logits)
    for probabilities in (rows, np.concatenate([rows, np.eye(6)])):  # some are certain
        assert are_probabilities(probabilities.astype(dtype))
    for other in (logits, 2 * rows, np.eye(6), np.zeros((3, 6)), rows[:0], rows - 2, np.full((2, 6), np.nan)):
        assert not are_probabilities(other.astype(dtype))
