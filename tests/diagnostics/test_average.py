"""The mean of several seeds, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from midas_core.diagnostics import Bin, ClassScores
from midas_core.diagnostics.average import average
from tests.diagnostics.test_verdict import diagnosis


def test_one_stays_as_it_is():
    one = diagnosis([0.3, 0.9], [0.8, 0.9])
    assert average([one]) is one
    with pytest.raises(ValueError, match="diagnoses: expected at least one, got none"):
        average([])


def test_numbers_are_means_and_counts_the_smallest():
    a, b = diagnosis([0.3, 0.9], [0.8, 0.9], kept=500, late=0.7), diagnosis([0.5, 0.8], [0.6, 0.9], accuracy=0.8)
    b = replace(b, late_fusion_accuracy=0.9, misaligned_accuracy=None, misaligned_interval=(0.1, 0.2))
    found = average([a, b])
    assert (found.kept, found.samples) == (500, 500)
    assert found.accuracy == pytest.approx(0.85)
    assert found.late_fusion_accuracy == pytest.approx(0.8)
    assert found.misaligned_accuracy is None
    assert found.misaligned_interval is None
    assert [x.accuracy_alone for x in found.modalities] == pytest.approx([0.4, 0.85])
    assert [x.probe_accuracy for x in found.modalities] == pytest.approx([0.7, 0.9])
    assert found.modalities[0].unimodal_accuracy is None
    assert found.sample_shapley.shape == (0, 0)


def test_histograms_bins_and_classes_are_put_together():
    one = diagnosis([0.3, 0.9], [0.8, 0.9])
    nan = float("nan")

    def filled(count, confidence, accuracy, recall):
        bins = (Bin(0.0, 0.5, count, confidence, accuracy), Bin(0.5, 1.0, 0, nan, nan))
        modalities = tuple(replace(x, similarity=(count, 1)) for x in one.modalities)
        classes = (ClassScores("a", count, recall, (recall, 0.5), (0.1, recall)),)
        return replace(one, reliability=bins, modalities=modalities, classes=classes)

    found = average([filled(10, 0.2, 0.4, 0.6), filled(30, 0.4, 0.8, 0.8)])
    assert found.reliability[0] == Bin(0.0, 0.5, 40, pytest.approx(0.35), pytest.approx(0.7))
    assert found.reliability[1].count == 0
    assert np.isnan(found.reliability[1].accuracy)
    assert found.modalities[1].similarity == (40, 2)
    (scores,) = found.classes
    assert (scores.count, scores.recall) == (10, pytest.approx(0.7))
    assert scores.recall_alone == pytest.approx((0.7, 0.5))
    assert scores.shapley == pytest.approx((0.1, 0.7))
    other = replace(one, classes=(ClassScores("b", 1, 1.0, (1.0, 1.0), (0.5, 0.5)),))
    assert average([one, other]).classes == ()


def test_other_modalities_are_refused():
    one = diagnosis([0.3, 0.9], [0.8, 0.9])
    with pytest.raises(ValueError, match="expected the modalities"):
        average([one, diagnosis([0.3, 0.9, 0.5], [0.8, 0.9, 0.6])])
