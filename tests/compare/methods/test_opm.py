import math
from dataclasses import replace

import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.opm import WARMUP_EPOCHS, Opm, drop_features, drop_probabilities
from tests.compare.methods.stacks import batch, make


def test_probabilities_by_hand():
    ratio = torch.tensor([[2.0, 0.8, 50.0], [0.5, 1.25, 0.02]])
    found = drop_probabilities(ratio, torch.tensor([0.5, 0.5, 0.75]))
    expected = [
        [0.5 * (1 + 0.5 * math.tanh(1.0)), 0.0],
        [0.0, 0.5 * (1 + 0.5 * math.tanh(0.25))],
        [1.0, 0.0],  # 0.75 * 1.5 is cut off.
    ]
    assert found.T.tolist() == [pytest.approx(each) for each in expected]


def test_dropping_by_hand():
    features = [torch.ones(1, 3, 2), torch.ones(1, 3, 6)]
    numbers = torch.tensor([[[0.1, 0.4, 0.9], [0.0, 0.5, 0.9]]])
    kept = drop_features(features, torch.tensor([[0.4], [0.0]]), numbers)
    # theta = 2 * 0.4 / 8 = 0.1
    scale = pytest.approx(1 / 0.9)
    assert kept[0][0, :, 0].tolist() == [0.0, scale, scale]
    assert kept[1].flatten().tolist() == [scale] * 18


def test_what_is_left_has_the_old_sum_on_average():
    features = [torch.ones(1, 20000, 3), torch.ones(1, 20000, 3)]
    numbers = torch.rand(1, 2, 20000, generator=torch.Generator().manual_seed(0))
    kept = drop_features(features, torch.tensor([[0.6], [0.0]]), numbers)
    assert torch.cat(kept, dim=-1).mean().item() == pytest.approx(1.0, rel=0.02)


def test_nothing_is_dropped_in_the_first_epochs():
    model, method = make(Opm, [0], [0.75])
    given = batch([0], epoch=WARMUP_EPOCHS - 1)
    plain = cross_entropy(model.fuse(model.features(given.inputs)), given.labels)
    torch.testing.assert_close(method.loss(model, given), plain)
    later = [method.loss(model, replace(given, epoch=WARMUP_EPOCHS)) for _ in range(10)]
    same = [torch.allclose(loss, plain) for loss in later]
    assert any(same), "a batch in ten is left alone with probability 0.97"
    assert not all(same)
