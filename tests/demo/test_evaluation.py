"""What the demo measures, on cases small enough to count by hand."""

import numpy as np
import pytest
import torch

from midas_core.data import Split, Task
from midas_core.demo.evaluation import Scores, diagnose_model, score_aligned
from midas_core.demo.models import LateFusion, Network


class Fixed:
    """Features are the views; the head adds them up with a weight for each modality."""

    def __init__(self, *weights):
        self.weights = weights

    def encode(self, views):
        return list(views)

    def head(self, features):
        parts = features.chunk(len(self.weights), dim=1)
        return sum(weight * part for weight, part in zip(self.weights, parts, strict=True))


def scores(model, *views, classes=3, labels=None):
    labels = np.arange(6) % 3 if labels is None else labels
    split = Split(views or (np.eye(3, dtype=np.float32)[labels],) * 2, labels)
    names = tuple("abc"[: len(split.inputs)])
    return Scores.of(diagnose_model(model, Task(names, classes, split, split, split)))


def test_a_balanced_model_gets_everything():
    assert scores(Fixed(1.0, 1.0)) == (1.0, 1.0, 1.0, (1.0, 1.0))


def test_a_model_that_one_modality_dominates_fails_on_misaligned_samples():
    # The class of the second modality comes last, behind the one that takes no part.
    assert scores(Fixed(1.0, -0.5)) == (1.0, 1.0, 0.0, (1.0, 0.0))


def test_macro_f1_weighs_classes_equally():
    view = np.eye(3, dtype=np.float32)[[0, 0, 0, 0]]
    found = scores(Fixed(1.0, 1.0), view, view, labels=np.array([0, 0, 0, 1]))
    assert found.accuracy == 0.75
    # Over the classes that occur, in labels or predictions.
    assert found.macro_f1 == pytest.approx((6 / 7 + 0) / 2)


def test_two_classes_have_no_misaligned_accuracy():
    labels = np.array([0, 1, 0, 1])
    view = np.eye(2, dtype=np.float32)[labels]
    assert scores(Fixed(1.0, 1.0), view, view, classes=2, labels=labels).misaligned_accuracy is None


def test_a_single_modality_is_measured_on_aligned_samples_only():
    labels = np.arange(6) % 3
    assert score_aligned(Fixed(1.0), Split((np.eye(3, dtype=np.float32)[labels],), labels)) == (1.0, 1.0, None, ())


def test_late_fusion_averages_probabilities():
    torch.manual_seed(0)
    networks = [Network([4], 3), Network([5], 3)]
    views = [torch.randn(6, 4), torch.randn(6, 5)]
    fused = LateFusion(networks)
    got = fused.head(torch.cat(fused.encode(views), dim=1)).exp()
    each = [n.head(n.encode([v])[0]).softmax(dim=1) for n, v in zip(networks, views, strict=True)]
    torch.testing.assert_close(got, (each[0] + each[1]) / 2)
