"""Models that end in a softmax: their rows are told from logits."""

import numpy as np
import pytest

from midas_core.diagnostics import diagnose
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


def test_a_model_that_ends_in_softmax_is_diagnosed_by_its_logits():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    features = [np.eye(3)[labels] + rng.normal(size=(200, 3)) for _ in range(2)]
    options = {"num_classes": 3, "probe": False}

    def logits(x):
        return 4 * (x[:, :3] + x[:, 3:])

    heads = [lambda x: 2 * x] * 2
    expected = diagnose(logits, features, labels, unimodal_heads=heads, **options)
    with pytest.warns(UserWarning, match="head.*expected logits, got probabilities") as warned:
        found = diagnose(
            lambda x: softmax(logits(x)), features, labels, unimodal_heads=[lambda x: softmax(2 * x)] * 2, **options
        )
    names = ["head", "unimodal head of modality 0", "unimodal head of modality 1"]
    assert [str(x.message).split(":")[0] for x in warned] == names, "once for each"
    assert found.calibration_error == pytest.approx(expected.calibration_error)
    assert found.modalities[1].confidence == pytest.approx(expected.modalities[1].confidence)
    assert found.modalities[1].pair_confidence == pytest.approx(expected.modalities[1].pair_confidence)
    # A probability of zero is no hole.
    rows = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    with pytest.warns(UserWarning, match="got probabilities"):
        found = diagnose(lambda x: rows[x[:, 0].astype(int)], [np.array([[0.0], [1.0]])] * 2, np.arange(2), **options)
    assert found.accuracy == 0.5
