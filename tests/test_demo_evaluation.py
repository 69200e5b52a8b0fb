"""What the demo measures, on cases small enough to count by hand."""

import numpy as np
import pytest
import torch

from midas_core.data import Split
from midas_core.demo.evaluation import (
    Pairs,
    fused_shares,
    misaligned_accuracy,
    misaligned_pairs,
    score,
    unimodal_shares,
    zeroed,
)
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


def one_hot_split(num_modalities=2):
    labels = np.arange(6) % 3
    view = np.eye(3, dtype=np.float32)[labels]
    return Split((view,) * num_modalities, labels)


def test_a_balanced_model_gets_everything():
    scores = score(Fixed(1.0, 1.0), one_hot_split(), 3)
    assert scores == (1.0, 1.0, 1.0, (1.0, 1.0))


def test_a_model_that_one_modality_dominates_fails_on_misaligned_samples():
    # The class of the second modality comes last, behind the one that takes no part.
    scores = score(Fixed(1.0, -0.5), one_hot_split(), 3)
    assert scores == (1.0, 1.0, 0.0, (1.0, 0.0))


def test_macro_f1_weighs_classes_equally():
    labels = np.array([0, 0, 0, 1])
    split = Split((np.eye(3, dtype=np.float32)[[0, 0, 0, 0]],) * 2, labels)
    scores = score(Fixed(1.0, 1.0), split, 3)
    assert scores.accuracy == 0.75
    assert scores.macro_f1 == pytest.approx((6 / 7 + 0) / 2)


def test_two_classes_have_no_misaligned_accuracy():
    labels = np.array([0, 1, 0, 1])
    split = Split((np.eye(2, dtype=np.float32)[labels],) * 2, labels)
    assert score(Fixed(1.0, 1.0), split, 2).misaligned_accuracy is None


def test_a_single_modality_is_measured_on_aligned_samples_only():
    assert score(Fixed(1.0), one_hot_split(1), 3) == (1.0, 1.0, None, ())


def test_misaligned_accuracy_counts_any_order():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3)
    classes = torch.tensor([[0, 1, 0], [1, 0, 2]])
    assert misaligned_accuracy(logits, classes) == pytest.approx(2 / 3)


def test_misaligned_accuracy_of_three_modalities_looks_at_the_top_three():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 3)
    classes = torch.tensor([[0, 0, 0], [1, 1, 3], [2, 1, 3]])
    assert misaligned_accuracy(logits, classes) == pytest.approx(2 / 3)


@pytest.mark.parametrize("modalities", [2, 3])
def test_pairs_are_misaligned_and_come_in_every_direction(modalities):
    labels = torch.arange(12) % 4
    pairs = misaligned_pairs(labels, 4, modalities, rounds=5)
    assert pairs.sources.shape == pairs.classes.shape == (modalities, 2 * 5 * 12)
    assert (pairs.classes != pairs.classes[0]).any(dim=0).all()
    assert torch.equal(labels[pairs.sources], pairs.classes)
    columns = {tuple(column) for column in pairs.sources.T.tolist()}
    if modalities == 2:
        assert {(b, a) for a, b in columns} == columns


def test_pairs_are_the_same_for_everyone():
    labels = torch.arange(9) % 3
    assert torch.equal(misaligned_pairs(labels, 3, 2).sources, misaligned_pairs(labels, 3, 2).sources)


def test_samples_without_a_partner_are_left_out():
    pairs = misaligned_pairs(torch.tensor([0, 0, 0, 1]), 2, 2, rounds=1)
    assert pairs.sources.shape[1] == 4  # 2 of 4 samples, in both directions
    assert (pairs.classes[0] != pairs.classes[1]).all()


def test_zeroed_keeps_one_modality():
    features = [torch.ones(1, 2), torch.full((1, 3), 2.0)]
    assert zeroed(features, 0).tolist() == [[1, 1, 0, 0, 0]]
    assert zeroed(features, 1).tolist() == [[0, 0, 2, 2, 2]]


def test_normalised_confidences():
    pairs = Pairs(torch.tensor([[0], [1]]), torch.tensor([[0], [1]]))
    # The paper's example: 0.9 and 0.3 give 0.75 and 0.25.
    logs = [torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.3]).log()]
    assert unimodal_shares(logs, pairs) == pytest.approx([0.75, 0.25])
    fused = torch.tensor([[0.6, 0.2, 0.2]]).log()
    assert fused_shares(fused, pairs) == pytest.approx([0.75, 0.25])


def test_late_fusion_averages_probabilities():
    torch.manual_seed(0)
    networks = [Network([4], 3), Network([5], 3)]
    views = [torch.randn(6, 4), torch.randn(6, 5)]
    fused = LateFusion(networks)
    got = fused.head(torch.cat(fused.encode(views), dim=1)).exp()
    each = [n.head(n.encode([v])[0]).softmax(dim=1) for n, v in zip(networks, views, strict=True)]
    torch.testing.assert_close(got, (each[0] + each[1]) / 2)
