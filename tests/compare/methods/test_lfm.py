import math

import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.contrastive import matching_loss
from midas_core.compare.methods.lfm import TEMPERATURE, Lfm, matching_share
from tests.compare.methods.stacks import batch, make


def test_the_share_falls_as_in_the_paper():
    found = [matching_share(epoch, torch.tensor([1.0])).item() for epoch in range(100)]
    assert found[:3] == pytest.approx([1 - math.exp(-1), 1 - math.exp(-1 / 2), 1 - math.exp(-1 / 3)])
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.01, abs=1e-3)


def test_the_loss_by_hand():
    model, method = make(Lfm, [0], [1.0])
    given = batch([0], epoch=1)
    features = model.features(given.inputs)
    share = 1 - math.exp(-0.5)
    expected = (1 - share) * cross_entropy(model.fuse(features), given.labels)
    torch.testing.assert_close(method.loss(model, given), expected + share * matching_loss(features, TEMPERATURE))
